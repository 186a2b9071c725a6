import Engine
import Foundation
import JSON
import TestSupport
import Testing

/// Engine and reference implementation agree.
@Suite(.timeLimit(.minutes(2))) struct ReferenceTests {
    @Test("the fixtures are found")
    func fixtures() { #expect(!Reference.all.isEmpty && Reference.all.count == Fixtures.models.count) }

    @Test("greedy tokens and their log-probabilities", arguments: Reference.all)
    func greedy(model: Reference) async throws {
        try await model.withEngine(EngineOptions(batchTokens: 100)) { engine in
            // All at once: they share steps.
            let generations = try model.prompts.map { prompt in
                try engine.submit(
                    GenerationRequest(
                        prompt: prompt.tokens, sampling: SamplingParameters(temperature: 0),
                        maxTokens: prompt.greedy.count, topLogprobs: 2))
            }
            for (prompt, generation) in zip(model.prompts, generations) {
                let events = try await generation.events()
                #expect(events.tokens.map(\.id) == prompt.greedy)
                #expect(events.last == .finished(.length))
                let logprobs = prompt.json["greedy"]?["logprobs"]?.array?.compactMap(\.double) ?? []
                #expect(logprobs.count == events.tokens.count)
                for (token, expected) in zip(events.tokens, logprobs) {
                    #expect(abs(Double(token.logprob ?? .nan) - expected) < 5e-4)
                    #expect(token.top.count == 2 && token.top[0].id == token.id)
                    #expect(token.top[0].logprob == token.logprob)
                }
            }
        }
    }

    @Test("prompt log-probabilities and the most likely alternatives", arguments: Reference.all)
    func promptLogprobs(model: Reference) async throws {
        try await model.withEngine(EngineOptions(batchTokens: 64)) { engine in
            for prompt in model.prompts {
                let tokens = prompt.tokens
                let events = try await engine.submit(
                    GenerationRequest(prompt: tokens, maxTokens: 0, promptLogprobs: 20)
                ).events()
                let scores = try #require(events.prompt)
                #expect(events.count == 2 && events.last == .finished(.length))
                #expect(scores.map(\.id) == tokens)
                #expect(scores[0].logprob == nil && scores[0].top.isEmpty)
                for (score, expected) in zip(scores.dropFirst(), try prompt.tensor("prompt_logprobs") ?? []) {
                    #expect(abs((score.logprob ?? .nan) - expected) < 5e-4)
                }
                for entry in prompt.json["top20"]?.array ?? [] {
                    let position = try #require(entry["position"]?.integer)
                    guard position + 1 < tokens.count else { continue }
                    let expected = zip(
                        integers(entry["ids"]), entry["logprobs"]?.array?.compactMap(\.double) ?? [])
                    let top = scores[position + 1].top
                    // Neighbours closer than the tolerance may change places, so ranks and ids are compared by value.
                    for (found, (id, logprob)) in zip(top, expected) {
                        #expect(abs(Double(found.logprob) - logprob) < 5e-4)
                        let same = top.first { $0.id == id }
                        #expect(same.map { abs(Double($0.logprob) - logprob) < 5e-4 } ?? (found == top.last))
                    }
                }
            }
        }
    }
}
