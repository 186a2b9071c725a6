import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

@Suite("Completions", .timeLimit(.minutes(5)))
struct CompletionTests {
    /// Text and scores straight from the engine.
    private static func generate(
        _ server: FixtureServer, _ prompt: [Int32], maxTokens: Int, topLogprobs: Int? = nil
    ) async throws -> [ScoredToken] {
        let generation = try server.engine.submit(
            GenerationRequest(
                prompt: prompt, sampling: .init(temperature: 0), maxTokens: maxTokens, stopTokens: server.endTokens,
                topLogprobs: topLogprobs, promptLogprobs: topLogprobs))
        var tokens: [ScoredToken] = []
        for try await event in generation {
            switch event {
            case .prompt(let scores): tokens += scores
            case .token(let token): tokens.append(token)
            case .finished: break
            }
        }
        return tokens
    }

    @Test("texts are the engine's, in the order of prompts and choices", arguments: Fixtures.models)
    func texts(model: URL) async throws {
        try await FixtureServer.run(model: model) { server in
            let prompts = ["The licence", "Each user"]
            let whole = try await server.post(
                "/v1/completions",
                ["prompt": .array(prompts.map { .string($0) }), "temperature": 0, "max_tokens": 12, "n": 2]
            ).json
            #expect(whole["object"] == "text_completion")
            let texts = whole["choices"]?.array?.compactMap { $0["text"]?.string } ?? []
            #expect(whole["choices"]?.array?.compactMap { $0["index"]?.integer } == [0, 1, 2, 3])
            var promptTokens = 0
            for (index, prompt) in prompts.enumerated() {
                let tokens = server.harmony.tokenizer.encode(prompt)
                promptTokens += tokens.count
                let generated = try await Self.generate(server, tokens, maxTokens: 12).map(\.id)
                let text = server.harmony.tokenizer.decode(generated.filter { !server.endTokens.contains($0) })
                #expect(texts[2 * index] == text && texts[2 * index + 1] == text)
                let tokenForm = try await server.post(
                    "/v1/completions",
                    ["prompt": .array(tokens.map { JSONValue($0) }), "temperature": 0, "max_tokens": 12]
                ).json
                #expect(tokenForm["choices"]?.array?.first?["text"]?.string == text)
                let streamed = try await server.post(
                    "/v1/completions", ["prompt": .string(prompt), "temperature": 0, "max_tokens": 12, "stream": true]
                ).events
                #expect(streamed.compactMap { $0["choices"]?.array?.first?["text"]?.string }.joined() == text)
                #expect(streamed.last?["choices"]?.array?.first?["finish_reason"]?.string != nil)
            }
            #expect(whole["usage"]?["prompt_tokens"]?.integer == promptTokens)
        }
    }

    @Test("an echoed prompt is scored as evaluation harnesses need it", arguments: Fixtures.models, [0, 1])
    func scoring(model: URL, maxTokens: Int) async throws {
        try await FixtureServer.run(model: model) { server in
            let text = "The GNU General Public Licence, naïve 🙂"
            let tokens = server.harmony.tokenizer.encode(text)
            let expected = try await Self.generate(server, tokens, maxTokens: maxTokens, topLogprobs: 1)
            let choice = try await server.post(
                "/v1/completions",
                [
                    "prompt": .array(tokens.map { JSONValue($0) }), "temperature": 0,
                    "max_tokens": JSONValue(maxTokens),
                    "echo": true, "logprobs": 1,
                ]
            ).json["choices"]?.array?.first
            #expect(choice?["text"]?.string?.hasPrefix(text) == true)
            let logprobs = try #require(choice?["logprobs"])
            let count = tokens.count + maxTokens
            for column in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                #expect(logprobs[column]?.array?.count == count, "\(column)")
            }
            #expect(logprobs["token_logprobs"]?.array?.first == .null)
            let scores = logprobs["token_logprobs"]?.array?.map { $0.double.map { Float($0) } }
            #expect(scores == expected.map(\.logprob))
            // The way lm-evaluation-harness finds out whether a token is the greedy one.
            for (index, token) in expected.enumerated().dropFirst() {
                let top = logprobs["top_logprobs"]?.array?[index].object?.members.compactMap(\.value.double).max()
                #expect(top.map { Float($0) } == token.top.first?.logprob)
            }
            #expect(logprobs["text_offset"]?.array?.compactMap(\.integer).last ?? 0 <= text.unicodeScalars.count)
        }
    }

    @Test("a stop string ends the text before it, streamed and not")
    func stop() async throws {
        try await FixtureServer.run { server in
            let prompt = server.harmony.tokenizer.encode("The licence")
            let ids = try await Self.generate(server, prompt, maxTokens: 30).map(\.id)
            let text = server.harmony.tokenizer.decode(ids.filter { !server.endTokens.contains($0) })
            let characters = Array(text.unicodeScalars)
            try #require(characters.count > 12)
            // Across tokens, wherever they divide.
            let stop = String(String.UnicodeScalarView(characters[8..<12]))
            let end = try #require(text.range(of: stop)).lowerBound
            let body: (Bool) -> JSONValue = {
                [
                    "prompt": "The licence", "temperature": 0, "max_tokens": 30, "stop": [.string(stop), "§§"],
                    "stream": .bool($0),
                ]
            }
            let choice = try await server.post("/v1/completions", body(false)).json["choices"]?.array?.first
            #expect(choice?["text"]?.string == String(text[..<end]))
            #expect(choice?["finish_reason"] == "stop")
            let events = try await server.post("/v1/completions", body(true)).events
            #expect(events.compactMap { $0["choices"]?.array?.first?["text"]?.string }.joined() == text[..<end])
        }
    }

    @Test("several clients at once get what each gets alone")
    func concurrency() async throws {
        try await FixtureServer.run { server in
            func text(_ seed: Int) async throws -> String? {
                try await server.post(
                    "/v1/completions", ["prompt": "The licence", "seed": JSONValue(seed), "max_tokens": 20]
                ).json["choices"]?.array?.first?["text"]?.string
            }
            var alone: [String?] = []
            for seed in 0..<8 { alone.append(try await text(seed)) }
            let together = try await withThrowingTaskGroup(of: (Int, String?).self) { group in
                for seed in 0..<8 { group.addTask { (seed, try await text(seed)) } }
                var texts = [String?](repeating: nil, count: 8)
                for try await (seed, text) in group { texts[seed] = text }
                return texts
            }
            #expect(alone == together)
        }
    }
}
