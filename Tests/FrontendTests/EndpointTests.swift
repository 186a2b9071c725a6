import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

@Suite("Endpoints", .timeLimit(.minutes(5)))
struct EndpointTests {
    @Test("state, models and errors are told in JSON")
    func plain() async throws {
        try await FixtureServer.run { server in
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.get("/ready").json["status"] == "ready")
            #expect(try await server.get("/cluster").json == ["workers": []])
            let list = try await server.get("/v1/models").json
            #expect(list["data"]?.array?.first?["id"]?.string == FixtureServer.modelName)
            #expect(try await server.get("/v1/models/\(FixtureServer.modelName)").json["object"] == "model")
            #expect(try await server.get("/v1/models/other").json["error"]?["code"] == "model_not_found")
            #expect(try await server.get("/nowhere").status == 404)
            let wrong = try await server.get("/v1/completions")
            #expect(wrong.status == 405)
            #expect(wrong.head.contains("Allow: POST, OPTIONS"))
            #expect(try await server.request("OPTIONS", "/health").status == 204)
            let head = try await server.request("HEAD", "/health")
            #expect(head.status == 200 && head.body.isEmpty)
            #expect(server.log.all.map(\.path).prefix(2) == ["/health", "/ready"])
        }
    }

    @Test("what is not ready says why, and when to come back, and takes requests, which the engine lets wait")
    func notReady() async throws {
        try await FixtureServer.run(readiness: { .notReady(reason: "expert 3 of layer 2 has no owner") }) { server in
            #expect(try await server.get("/health").status == 200)
            let reply = try await server.get("/ready")
            #expect(reply.status == 503)
            #expect(reply.head.contains("Retry-After: "))
            #expect(reply.json["error"]?["message"]?.string?.contains("expert 3") == true)
            #expect(try await server.post("/v1/completions", ["prompt": "a"]).status == 200)
        }
    }

    @Test("tokens are those of the tokenizer, and back", arguments: Fixtures.models)
    func tokens(model: URL) async throws {
        try await FixtureServer.run(model: model) { server in
            let text = "Hello, wörld 🙂 <|start|>"
            let reply = try await server.post("/tokenize", ["prompt": .string(text), "return_token_strs": true]).json
            let tokens = server.harmony.tokenizer.encode(text, specialTokens: .all)
            #expect(reply["tokens"]?.array?.compactMap(\.integer) == tokens.map { Int($0) })
            #expect(reply["count"]?.integer == tokens.count)
            #expect(reply["max_model_len"]?.integer == server.engine.contextLength)
            #expect(reply["token_strs"]?.array?.last?.string == "<|start|>")
            let back = try await server.post("/detokenize", ["tokens": reply["tokens"] ?? .null]).json
            #expect(back == ["prompt": .string(text)])

            let messages: JSONValue = [["role": "user", "content": "hi"]]
            let chat = try await server.post("/tokenize", ["messages": messages]).json
            let prompt = server.harmony.tokenizer.decode(
                (chat["tokens"]?.array ?? []).compactMap(\.integer).map { Int32($0) })
            #expect(prompt.contains("Current date: 2025-06-28"))
            #expect(prompt.hasSuffix("<|start|>user<|message|>hi<|end|><|start|>assistant"))
            let whole = try await server.post("/tokenize", ["messages": messages, "add_generation_prompt": false]).json
            #expect((whole["count"]?.integer ?? 0) < (chat["count"]?.integer ?? 0))
        }
    }

    @Test("an over-long prompt is OpenAI's context_length_exceeded")
    func tooLong() async throws {
        try await FixtureServer.run(options: EngineOptions(contextLength: 16)) { server in
            let prompt = JSONValue.array([JSONValue](repeating: 1, count: 17))
            let error = try await server.post("/v1/completions", ["prompt": prompt]).json["error"]
            #expect(error?["code"] == "context_length_exceeded")
            let chat = try await server.post("/v1/chat/completions", ["messages": [["role": "user", "content": "a"]]])
            #expect(chat.status == 400)
            #expect(chat.json["error"]?["param"] == "messages")
        }
    }

    @Test("more requests than the engine takes are told to come back")
    func overloaded() async throws {
        try await FixtureServer.run(options: EngineOptions(sequences: 1, queue: 1)) { server in
            let other = try server.engine.submit(GenerationRequest(prompt: [1]))
            let reply = try await server.post("/v1/completions", ["prompt": ["a", "b"], "max_tokens": 1000])
            #expect(reply.status == 429)
            #expect(reply.head.contains("Retry-After: "))
            let hopeless = try await server.post("/v1/completions", ["prompt": ["a", "b", "c"], "max_tokens": 1])
            #expect(hopeless.status == 400 && hopeless.json["error"]?["param"] == "n")
            other.cancel()
            #expect(try await eventually { server.engine.metrics.running + server.engine.metrics.waiting == 0 })
            #expect(try await server.post("/v1/completions", ["prompt": "a", "max_tokens": 1]).status == 200)
        }
    }

    @Test("what fails once a stream has begun is told in an event of its own")
    func lateFailure() async throws {
        try await FixtureServer.run { server in
            let body = #"{"prompt":"a","max_tokens":100000,"seed":1,"stream":true,"n":4}"#
            async let reply = server.request("POST", "/v1/completions", Array(body.utf8))
            #expect(try await eventually { server.engine.metrics.running > 0 })
            await server.engine.shutdown()
            let text = try await reply.body
            #expect(text.hasSuffix("\n\ndata: [DONE]\n\n"))
            #expect(text.contains(#"data: {"error":{"message":"#))
            #expect(text.contains(#""code":"shutting_down""#))
            let late = try await server.post("/v1/completions", ["prompt": "a"])
            #expect(late.status == 503)
        }
    }

    @Test("an empty prompt is named")
    func emptyPrompt() async throws {
        try await FixtureServer.run { server in
            let reply = try await server.post("/v1/completions", ["prompt": ""])
            #expect(reply.status == 400)
            #expect(reply.json["error"]?["param"] == "prompt")
        }
    }

    @Test("a client that leaves stops its generation", arguments: [true, false])
    func disconnect(streams: Bool) async throws {
        try await FixtureServer.run { server in
            let body = #"{"messages":[{"role":"user","content":"a"}],"seed":1,"stream":\#(streams)}"#
            let client = try RawClient(server.address)
            client.send(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(try await eventually { server.engine.metrics.running == 1 })
            let start = ContinuousClock.now
            client.close()
            #expect(try await eventually { server.engine.metrics.running == 0 })
            #expect(start.duration(to: .now) < .seconds(1))
            #expect(try await eventually { server.log.all.count == 1 })
            #expect(server.log.all.first?.clientLeft == true)
        }
    }
}
