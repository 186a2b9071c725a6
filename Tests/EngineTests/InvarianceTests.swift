import Engine
import TestSupport
import Testing
import Transformer

/// What a request yields depends on nothing but the request.
@Suite(.timeLimit(.minutes(2))) struct InvarianceTests {
    private struct Case: CustomStringConvertible, Sendable {
        let model: Model
        let precision: Precision
        var description: String { "\(model) \(precision)" }
    }

    private static let cases = Model.all.flatMap { model in
        Precision.allCases.map { Case(model: model, precision: $0) }
    }

    private static func request(_ model: Model, _ generator: inout SeededGenerator) -> GenerationRequest {
        GenerationRequest(
            prompt: model.tokens(.random(in: 1...60, using: &generator), &generator),
            sampling: SamplingParameters(
                temperature: [0, 0.7, 1, 1.6].randomElement(using: &generator) ?? 1,
                topP: [0.2, 0.9, 1].randomElement(using: &generator) ?? 1,
                seed: .random(in: .min ... .max, using: &generator)),
            maxTokens: .random(in: 0...24, using: &generator),
            stopTokens: Set(model.tokens(40, &generator)),
            topLogprobs: [nil, 0, 3].randomElement(using: &generator) ?? nil,
            promptLogprobs: [nil, nil, 0, 2].randomElement(using: &generator) ?? nil)
    }

    @Test("a request yields the same alone or among 31 others, whatever the chunks and cancellations", arguments: cases)
    private func company(test: Case) async throws {
        var generator = SeededGenerator(seed: 11)
        let requests = (0..<32).map { _ in Self.request(test.model, &generator) }
        let alone = try await test.model.withEngine(precision: test.precision) { engine in
            var results: [[GenerationEvent]] = []
            for request in requests { results.append(try await engine.submit(request).events()) }
            return results
        }
        #expect(alone.contains { $0.last == .finished(.stop) } && alone.contains { $0.last == .finished(.length) })

        for (sequences, prefillTokens) in [(32, 256), (32, 1), (5, 17), (11, 40)] {
            let options = EngineOptions(sequences: sequences, queue: 100, prefillTokens: prefillTokens)
            try await test.model.withEngine(options, precision: test.precision) { engine in
                var disturbances: [Generation] = []
                var generations: [(Int, Generation)] = []
                for index in requests.indices.shuffled(using: &generator) {
                    if Bool.random(using: &generator) {
                        disturbances.append(try engine.submit(Self.request(test.model, &generator)))
                    }
                    generations.append((index, try engine.submit(requests[index])))
                    if index % 5 == 0 { disturbances.popLast()?.cancel() }
                    // Arrivals spread over steps.
                    if index % 3 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                }
                for (index, generation) in generations {
                    #expect(try await generation.events() == alone[index], "request \(index)")
                    disturbances.popLast()?.cancel()
                }
            }
        }
    }

    @Test("another seed yields other tokens; without one the engine draws one")
    func seeds() async throws {
        let model = try Model.any()
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
