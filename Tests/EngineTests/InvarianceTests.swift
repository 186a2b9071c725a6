import Checkpoints
import Engine
import TestSupport
import Testing
import Transformer

/// What a request yields depends on nothing but the request.
@Suite(.timeLimit(.minutes(2))) struct InvarianceTests {
    private struct Case: CustomStringConvertible, Sendable {
        let model: Reference
        let precision: Precision
        var description: String { "\(model) \(precision)" }
    }

    private static let cases = Reference.all.flatMap { model in
        Precision.allCases.map { Case(model: model, precision: $0) }
    }

    /// Prompts often share a beginning.
    private static func request(_ model: Reference, _ generator: inout SeededGenerator) -> GenerationRequest {
        var other = SeededGenerator(seed: .random(in: 0..<3, using: &generator))
        let shared = model.randomTokens([0, 0, 70].randomElement(using: &generator) ?? 0, using: &other)
        var request = GenerationRequest(
            prompt: shared + model.randomTokens(.random(in: 1...20, using: &generator), using: &generator),
            sampling: SamplingParameters(
                temperature: [0, 0.7, 1, 1.6].randomElement(using: &generator) ?? 1,
                topP: [0.2, 0.9, 1].randomElement(using: &generator) ?? 1,
                seed: .random(in: .min ... .max, using: &generator)),
            maxTokens: .random(in: 0...180, using: &generator),
            stopTokens: Set(model.randomTokens(6, using: &generator)),
            topLogprobs: [nil, 0, 3].randomElement(using: &generator) ?? nil,
            promptLogprobs: [nil, nil, nil, 0, 2].randomElement(using: &generator) ?? nil)
        request.tenant = ["a", "b"].randomElement(using: &generator) ?? ""
        request.priority = .random(in: 0...2, using: &generator)
        request.cacheSalt = ["", "", "salt"].randomElement(using: &generator) ?? ""
        return request
    }

    /// Steps of other sizes, and so little memory that sequences are preempted.
    private static func options(_ test: Case, _ generator: inout SeededGenerator) -> EngineOptions {
        let sequences = Int.random(in: 8...32, using: &generator)
        let format: KVFormat = test.precision == .exact ? .float32 : .bf16
        let page = KVLayout(config: test.model.config, format: format).pageBytes
        return EngineOptions(
            sequences: sequences, queue: 100, batchTokens: sequences + .random(in: 0...200, using: &generator),
            contextLength: 208, kvMemory: page * .random(in: 14...18, using: &generator))
    }

    @Test(
        "a request yields the same alone or among 31 others, whatever the chunks, the cache, preemptions, cancellations",
        arguments: cases)
    private func company(test: Case) async throws {
        var generator = SeededGenerator(seed: 11)
        let requests = (0..<32).map { _ in Self.request(test.model, &generator) }
        var alone: [[GenerationEvent]] = []
        for request in requests {
            // An engine of its own, so that nothing is cached.
            alone.append(
                try await test.model.withEngine(EngineOptions(contextLength: 208), precision: test.precision) {
                    try await $0.submit(request).events()
                })
        }
        #expect(alone.contains { $0.last == .finished(.stop) } && alone.contains { $0.last == .finished(.length) })

        var (preemptions, hits) = (0, 0)
        for round in 0..<6 {
            let options = Self.options(test, &generator)
            try await test.model.withEngine(options, precision: test.precision) { engine in
                var disturbances: [Generation] = []
                var generations: [(Int, Generation)] = []
                for index in requests.indices.shuffled(using: &generator) {
                    if Bool.random(using: &generator) {
                        disturbances.append(try engine.submit(Self.request(test.model, &generator)))
                    }
                    generations.append((index, try engine.submit(requests[index])))
                    if index % 5 == 0 { disturbances.popLast()?.cancel() }
                    // Arrivals spread over steps, or all at once.
                    if round % 2 == 0, index % 3 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                }
                for (index, generation) in generations {
                    #expect(try await generation.events() == alone[index], "request \(index) with \(options)")
                    disturbances.popLast()?.cancel()
                }
                for generation in disturbances { generation.cancel() }
                let reusable = requests.indices.filter {
                    requests[$0].promptLogprobs == nil && requests[$0].prompt.count > KVLayout.pageTokens
                }
                for index in reusable.flatMap({ [$0, $0] }) {
                    #expect(try await engine.submit(requests[index]).events() == alone[index], "again, \(options)")
                }
                try await eventually { engine.metrics.isIdle }
                preemptions += engine.metrics.preemptions
                hits += engine.metrics.prefixCacheHits
            }
        }
        #expect(preemptions > 0 && hits > 0, "\(preemptions) preemptions, \(hits) hits")
    }

    @Test("another seed yields other tokens; without one the engine draws one")
    func seeds() async throws {
        let model = try Reference.any()
        try await model.withEngine { engine in
            func run(_ seed: UInt64?) async throws -> [Int32] {
                let sampling = SamplingParameters(temperature: 2, seed: seed)
                let request = GenerationRequest(prompt: [1, 2, 3], sampling: sampling, maxTokens: 20)
                return try await engine.submit(request).events().tokens.map(\.id)
            }
            let results = [try await run(1), try await run(2), try await run(nil), try await run(nil)]
            #expect(Set(results).count == 4)
            #expect(try await run(1) == results[0])
        }
    }
}
