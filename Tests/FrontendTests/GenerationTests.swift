import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

/// What clients may ask of a generation beyond temperature, over a real socket.
@Suite("Generations", .timeLimit(.minutes(5)))
struct GenerationTests {
    private static func complete(_ server: FixtureServer, _ rest: [(String, JSONValue)]) async throws -> JSONValue {
        var object = JSONObject([
            .init(name: "prompt", value: "The licence"), .init(name: "max_tokens", value: 12),
            .init(name: "temperature", value: 0),
        ])
        for (name, value) in rest { object[name] = value }
        let reply = try await server.post("/v1/completions", .object(object))
        #expect(reply.status == 200, "\(reply.body)")
        return reply.json
    }

    private static func choice(_ server: FixtureServer, _ rest: [(String, JSONValue)]) async throws -> JSONValue {
        try #require(try await complete(server, rest)["choices"]?.array?.first)
    }

    /// Three tokens whose texts are text by themselves, and no part of each other.
    private static func words(_ server: FixtureServer) -> [(id: Int32, text: String)] {
        let tokens = server.harmony.tokenizer.encode("The users licence")
        return tokens.prefix(3).map { ($0, server.harmony.tokenizer.decode([$0])) }
    }

    @Test("a bias of 100 forces its token, and the repetition penalty may take it back")
    func bias() async throws {
        try await FixtureServer.run { server in
            let word = Self.words(server)[0]
            let forced = try await Self.choice(server, [("logit_bias", .object(JSONObject([Self.bias(word.id, 100)])))])
            #expect(forced["text"]?.string == String(repeating: word.text, count: 12))
            #expect(forced["finish_reason"] == "length" && forced["stop_reason"] == .null)
            let penalized = try await Self.choice(
                server,
                [("logit_bias", .object(JSONObject([Self.bias(word.id, 100)]))), ("repetition_penalty", 100)])
            #expect(penalized["text"]?.string != forced["text"]?.string)
        }
    }

    private static func bias(_ id: Int32, _ value: Int) -> JSONObject.Member {
        JSONObject.Member(name: String(id), value: JSONValue(value))
    }

    @Test("a stop token ends the text before it, and says so; not before min_tokens", arguments: [true, false])
    func stopTokens(streams: Bool) async throws {
        try await FixtureServer.run { server in
            let word = Self.words(server)[0]
            let biased = ("logit_bias", JSONValue.object(JSONObject([Self.bias(word.id, 100)])))
            func run(_ rest: [(String, JSONValue)]) async throws -> (text: String, end: JSONValue) {
                let rest = [biased, ("stop_token_ids", [JSONValue(word.id)])] + rest
                guard streams else {
                    let choice = try await Self.choice(server, rest)
                    return (choice["text"]?.string ?? "", choice)
                }
                var body = JSONObject([
                    .init(name: "prompt", value: "The licence"), .init(name: "max_tokens", value: 12),
                    .init(name: "temperature", value: 0), .init(name: "stream", value: true),
                ])
                for (name, value) in rest { body[name] = value }
                let choices = try await server.post("/v1/completions", .object(body)).events
                    .compactMap { $0["choices"]?.array?.first }
                return (choices.compactMap { $0["text"]?.string }.joined(), choices.last ?? .null)
            }
            let (text, end) = try await run([])
            #expect(text.isEmpty)
            #expect(end["finish_reason"] == "stop" && end["stop_reason"]?.integer == Int(word.id))
            let later = try await run([("min_tokens", 4)])
            #expect(!later.text.isEmpty && later.end["stop_reason"]?.integer == Int(word.id))
            #expect(!later.text.contains(word.text))
        }
    }

    @Test("the model's end ends a generation, unless it is to be ignored")
    func ignoreEnd() async throws {
        try await FixtureServer.run { server in
            let end = try #require(server.endTokens.min())
            let biased = ("logit_bias", JSONValue.object(JSONObject([Self.bias(end, 100)])))
            let ended = try await Self.choice(server, [biased])
            #expect(ended["text"] == "" && ended["finish_reason"] == "stop" && ended["stop_reason"] == .null)
            let ignored = try await Self.complete(server, [biased, ("ignore_eos", true)])
            #expect(ignored["choices"]?.array?.first?["finish_reason"] == "length")
            #expect(ignored["usage"]?["completion_tokens"] == 12)
            let asked = try await Self.choice(
                server, [biased, ("ignore_eos", true), ("stop_token_ids", [JSONValue(end)])])
            #expect(asked["finish_reason"] == "stop" && asked["stop_reason"]?.integer == Int(end))
            for stop in [nil, end] {
                let chat = try await server.post(
                    "/v1/chat/completions",
                    [
                        "messages": [["role": "user", "content": "a"]], "max_tokens": 6, "temperature": 0,
                        "ignore_eos": true, "logit_bias": biased.1,
                        "stop_token_ids": .array(stop.map { [JSONValue($0)] } ?? []),
                    ]
                ).json
                let choice = chat["choices"]?.array?.first
                #expect(choice?["finish_reason"]?.string == (stop == nil ? "length" : "stop"))
                #expect(choice?["stop_reason"]?.integer == stop.map { Int($0) })
                #expect(chat["usage"]?["completion_tokens"]?.integer == (stop == nil ? 6 : 1))
            }
        }
    }

    @Test("a stop string names itself, and does not count before min_tokens")
    func stopString() async throws {
        try await FixtureServer.run { server in
            let word = Self.words(server)[0]
            let biased = ("logit_bias", JSONValue.object(JSONObject([Self.bias(word.id, 100)])))
            let stop = ("stop", JSONValue.string(word.text))
            let first = try await Self.choice(server, [biased, stop])
            #expect(first["text"] == "" && first["finish_reason"] == "stop" && first["stop_reason"] == stop.1)
            let later = try await Self.choice(server, [biased, stop, ("min_tokens", 3)])
            #expect(later["text"]?.string == String(repeating: word.text, count: 3))
            #expect(later["stop_reason"] == stop.1)
        }
    }

    @Test("prompt_logprobs are vLLM's: null, then the token itself and the most likely, with their ranks")
    func promptLogprobs() async throws {
        try await FixtureServer.run { server in
            let prompt = server.harmony.tokenizer.encode("The licence, naïve")
            for echo in [false, true] {
                let choice = try await Self.choice(
                    server,
                    [
                        ("prompt", .array(prompt.map { JSONValue($0) })), ("prompt_logprobs", 3), ("max_tokens", 1),
                        ("echo", .bool(echo)), ("logprobs", 1),
                    ])
                let entries = try #require(choice["prompt_logprobs"]?.array)
                #expect(entries.count == prompt.count && entries[0] == .null)
                for (entry, id) in zip(entries, prompt).dropFirst() {
                    let members = try #require(entry.object?.members)
                    #expect(members[0].name == String(id) && (3...4).contains(members.count))
                    let ranks = members.compactMap { $0.value["rank"]?.integer }
                    #expect(ranks.count == members.count && Set(ranks).isSuperset(of: [1, 2, 3]))
                    let ordered = members.sorted { ($0.value["rank"]?.integer ?? 0) < ($1.value["rank"]?.integer ?? 0) }
                    let logprobs = ordered.compactMap { $0.value["logprob"]?.double }
                    #expect(logprobs == logprobs.sorted(by: >) && logprobs.allSatisfy { $0 <= 0 })
                    #expect(members[0].value["decoded_token"]?.string != nil)
                }
                let columns = choice["logprobs"]?["top_logprobs"]?.array ?? []
                #expect(columns.allSatisfy { ($0.object?.members.count ?? 0) <= 2 }, "echo's alternatives are its own")
            }
            let chat = try await server.post(
                "/v1/chat/completions",
                ["messages": [["role": "user", "content": "a"]], "max_tokens": 1, "n": 2, "prompt_logprobs": 0]
            ).json
            #expect(chat["prompt_logprobs"]?.array?.count == chat["usage"]?["prompt_tokens"]?.integer)
            #expect(chat["prompt_logprobs"]?.array?.last?.object?.members.count == 1)
        }
    }

    @Test("cached tokens are always told, streamed and not")
    func cachedTokens() async throws {
        try await FixtureServer.run { server in
            for rest: [(String, JSONValue)] in [[], [("n", 2)], [("prompt", ["a", "b"])], [("stop", "e")]] {
                let usage = try await Self.complete(server, rest)["usage"]
                let cached = try #require(usage?["prompt_tokens_details"]?["cached_tokens"]?.integer)
                let promptTokens = try #require(usage?["prompt_tokens"]?.integer)
                #expect((0...promptTokens).contains(cached))
            }
            let events = try await server.post(
                "/v1/completions",
                ["prompt": "a", "max_tokens": 2, "stream": true, "stream_options": ["include_usage": true]]
            ).events
            #expect(events.last?["usage"]?["prompt_tokens_details"]?["cached_tokens"]?.integer != nil)
        }
    }

    @Test("where one of several choices finds no place, none runs on, and the client is told at once")
    func refusedChoice() async throws {
        try await FixtureServer.run(options: EngineOptions(sequences: 1, queue: 4)) { server in
            let other = try server.engine.submit(GenerationRequest(prompt: [1]))
            let start = ContinuousClock.now
            let reply = try await server.post(
                "/v1/chat/completions", ["messages": [["role": "user", "content": "a"]], "n": 5, "stream": true])
            #expect(reply.status == 429 && reply.json["error"]?["code"] == "overloaded")
            #expect(reply.head.contains("Retry-After: "))
            #expect(start.duration(to: .now) < .seconds(5))
            other.cancel()
            #expect(try await eventually { server.engine.metrics.isIdle })
            #expect(try await server.post("/v1/completions", ["prompt": "a", "max_tokens": 1, "n": 2]).status == 200)
        }
    }
}
