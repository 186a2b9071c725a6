import Checkpoints
import Cluster
import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// What a request yields depends on nothing but the request.
@Suite(.timeLimit(.minutes(2))) struct InvarianceTests {
    private struct Case: CustomStringConvertible, Sendable {
        let seed: UInt64
        let model: Reference
        let precision: Precision
        var description: String { "\(model) \(precision)" }
    }

    private static let cases = Reference.all.flatMap { model in Precision.allCases.map { (model, $0) } }
        .enumerated().map { Case(seed: UInt64($0), model: $1.0, precision: $1.1) }

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
            maxTokens: Bool.random(using: &generator) ? 180 : .random(in: 0...120, using: &generator),
            stopTokens: Set(model.randomTokens(6, using: &generator)),
            topLogprobs: [nil, 0, 3].randomElement(using: &generator) ?? nil,
            promptLogprobs: [nil, nil, nil, 0, 2].randomElement(using: &generator) ?? nil)
        request.tenant = ["a", "b"].randomElement(using: &generator) ?? ""
        request.priority = .random(in: 0...2, using: &generator)
        request.cacheSalt = ["", "", "salt"].randomElement(using: &generator) ?? ""
        return request
    }

    /// Steps and memory of other sizes.
    private static func options(
        _ test: Case, _ pages: ClosedRange<Int>, _ generator: inout SeededGenerator
    ) -> EngineOptions {
        let sequences = Int.random(in: 8...32, using: &generator)
        let spare = Bool.random(using: &generator) ? 20 : 200
        let format: KVFormat = test.precision == .exact ? .float32 : .bf16
        let page = KVLayout(config: test.model.config, format: format).pageBytes
        return EngineOptions(
            sequences: sequences, queue: 100, batchTokens: sequences + .random(in: 0...spare, using: &generator),
            contextLength: 208, kvMemory: page * .random(in: pages, using: &generator))
    }

    /// The engine's experts, in steps that go in two micro-batches where that is faster, or are cut anywhere.
    private static func experts(
        of cluster: ProcessCluster?, _ generator: inout SeededGenerator
    ) -> @Sendable (Transformer) -> any ExpertExecutor {
        let seed = Bool.random(using: &generator) ? UInt64.random(in: .min ... .max, using: &generator) : nil
        let executor = cluster?.coordinator.executor
        return { transformer in
            if let seed {
                var cuts = SeededGenerator(seed: seed)
                transformer.firstMicroBatch = { .random(in: 1...$0, using: &cuts) }
            }
            return executor ?? transformer.makeLocalExperts()
        }
    }

    /// Submits all requests and about half as many others, of which some are cancelled. Amid them a worker joins the
    /// cluster, and one leaves it.
    /// - Returns: The generations by their request, and the others.
    private static func submit(
        _ requests: [GenerationRequest], to engine: Engine, _ cluster: ProcessCluster?, _ model: Reference,
        _ generator: inout SeededGenerator
    ) async throws -> (generations: [(Int, Generation)], others: [Generation]) {
        // Arrivals spread over steps, or all at once.
        let areSpread = Bool.random(using: &generator)
        var (generations, others): ([(Int, Generation)], [Generation]) = ([], [])
        for index in requests.indices.shuffled(using: &generator) {
            if generations.count == requests.count / 2 { try await cluster?.addWorkers(1, using: &generator) }
            if Bool.random(using: &generator) { others.append(try engine.submit(request(model, &generator))) }
            generations.append((index, try engine.submit(requests[index])))
            if index % 5 == 0 { others.popLast()?.cancel() }
            if areSpread, index % 3 == 0 { try await Task.sleep(for: .milliseconds(1)) }
        }
        try await cluster?.removeWorker(using: &generator)
        return (generations, others)
    }

    @Test(
        """
        a request yields the same alone or among 31 others, whatever the chunks, the cache, preemptions, \
        cancellations, micro-batches and workers that come and go
        """,
        arguments: cases)
    private func company(test: Case) async throws {
        var generator = SeededGenerator(seed: test.seed)
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
        let reusable = requests.indices.filter {
            requests[$0].promptLogprobs == nil && requests[$0].prompt.count > KVLayout.pageTokens
        }

        var (preemptions, hits, departures) = (0, 0, 0)
        for round in 0..<8 {
            // Without a cluster, and with so many workers at first.
            let workers = ([nil, 0, 1, 2] as [Int?])[round % 4]
            // So little memory that sequences are preempted, and enough for many at a time.
            let pages = round < 4 ? 16...26 : 50...150
            let cluster = try workers.map { _ in try ProcessCluster(test.model.checkpoint, test.precision) }
            try await cluster?.addWorkers(workers ?? 0, using: &generator)
            let options = Self.options(test, pages, &generator)
            let experts = Self.experts(of: cluster, &generator)
            try await test.model.withEngine(options, precision: test.precision, experts: experts) { engine in
                var (generations, others) = try await Self.submit(
                    requests, to: engine, cluster, test.model, &generator)
                if cluster != nil, engine.metrics.running > 0 { departures += 1 }
                func check(_ index: Int, _ generation: Generation) async throws {
                    // Outside the expectation, which would print all of them.
                    let isSame = try await generation.events() == alone[index]
                    #expect(isSame, "request \(index) in round \(round), \(options)")
                }
                for (index, generation) in generations {
                    try await check(index, generation)
                    others.popLast()?.cancel()
                }
                for generation in others { generation.cancel() }
                let again = try #require(reusable.randomElement(using: &generator))
                for _ in 0..<2 { try await check(again, engine.submit(requests[again])) }
                try await eventually { engine.metrics.isIdle }
                preemptions += engine.metrics.preemptions
                hits += engine.metrics.prefixCacheHits
            }
            #expect(workers ?? 0 == 0 || cluster?.hasComputed == true)
        }
        #expect(preemptions > 0 && hits > 0, "\(preemptions) preemptions, \(hits) hits")
        #expect(departures > 0, "no worker has left while requests ran")
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
