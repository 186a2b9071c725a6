import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing

@Suite("Chat completions", .timeLimit(.minutes(5)))
struct ChatTests {
    private static func body(_ rest: [(String, JSONValue)] = []) -> JSONValue {
        var object = JSONObject([
            .init(name: "model", value: .string(FixtureServer.modelName)),
            .init(name: "messages", value: [["role": "user", "content": "Name a colour."]]),
            .init(name: "seed", value: 7), .init(name: "max_tokens", value: 40),
        ])
        for (name, value) in rest { object[name] = value }
        return .object(object)
    }

    /// What the chunks of a stream say about a choice, put together.
    private static func assembled(_ events: [JSONValue], index: Int = 0) -> (
        content: String, reasoning: String, finish: [String]
    ) {
        let choices = events.compactMap { $0["choices"]?.array?.first }.filter { $0["index"]?.integer == index }
        let deltas = choices.compactMap { $0["delta"] }
        #expect(deltas.first?["role"] == "assistant")
        return (
            deltas.compactMap { $0["content"]?.string }.joined(),
            deltas.compactMap { $0["reasoning_content"]?.string }.joined(),
            choices.compactMap { $0["finish_reason"]?.string }
        )
    }

    @Test("a babbling model's reply is well formed, and the same streamed and not", arguments: Fixtures.models)
    func babble(model: URL) async throws {
        try await FixtureServer.run(model: model) { server in
            for seed in 0..<5 {
                let seed = ("seed", JSONValue(seed))
                let whole = try await server.post("/v1/chat/completions", Self.body([seed])).json
                #expect(whole["object"] == "chat.completion")
                #expect(whole["created"] == 1_751_111_111)
                let choice = try #require(whole["choices"]?.array?.first)
                let message = try #require(choice["message"])
                #expect(message["role"] == "assistant")
                #expect(message["content"]?.string != nil || message["tool_calls"]?.array?.isEmpty == false)
                let usage = try #require(whole["usage"])
                let completionTokens = try #require(usage["completion_tokens"]?.integer)
                #expect((1...40).contains(completionTokens))
                #expect(choice["finish_reason"]?.string == (completionTokens == 40 ? "length" : "stop"))

                let streamed = try await server.post(
                    "/v1/chat/completions",
                    Self.body([seed, ("stream", true), ("stream_options", ["include_usage": true])]))
                #expect(streamed.head.contains("text/event-stream"))
                let events = try streamed.events
                #expect(events.allSatisfy { $0["object"] == "chat.completion.chunk" })
                let parts = Self.assembled(events)
                #expect(parts.content == message["content"]?.string ?? "")
                #expect(parts.reasoning == message["reasoning"]?.string ?? "")
                #expect(parts.finish == [choice["finish_reason"]?.string])
                #expect(events.last?["choices"] == [])
                for name in ["prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details"] {
                    #expect(events.last?["usage"]?[name] == usage[name])
                }
                #expect(events.dropLast().allSatisfy { $0["usage"] == .null })
            }
        }
    }

    @Test("each choice has a seed of its own, counted from the request's")
    func choices() async throws {
        try await FixtureServer.run { server in
            func contents(_ rest: [(String, JSONValue)]) async throws -> [String?] {
                try await server.post("/v1/chat/completions", Self.body(rest)).json["choices"]?.array?.map {
                    $0["message"]?["content"]?.string
                } ?? []
            }
            let three = try await contents([("n", 3), ("seed", 20)])
            #expect(three.count == 3)
            for index in 0..<3 { #expect(try await contents([("seed", JSONValue(20 + index))]) == [three[index]]) }
            let events = try await server.post(
                "/v1/chat/completions", Self.body([("n", 3), ("seed", 20), ("stream", true)])
            ).events
            #expect((0..<3).map { Self.assembled(events, index: $0).content } == three)
        }
    }

    @Test("a tool's result that belongs to no call is named")
    func strayResult() async throws {
        try await FixtureServer.run { server in
            let reply = try await server.post(
                "/v1/chat/completions", ["messages": [["role": "tool", "tool_call_id": "x", "content": "1"]]])
            #expect(reply.status == 400)
            #expect(reply.json["error"]?["param"] == "messages[0].tool_call_id")
        }
    }
}
