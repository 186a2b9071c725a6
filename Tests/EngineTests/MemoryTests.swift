import Checkpoints
import Engine
import TestSupport
import Testing
import Transformer

/// The memory of keys and values, as requests meet it.
@Suite(.timeLimit(.minutes(2))) struct MemoryTests {
    private let model: Reference
    private let page: Int

    init() throws {
        model = try Reference.any()
        page = KVLayout(config: model.config, format: .float32).pageBytes
    }

    @Test("the context is as long as the memory holds, and one that was asked for must fit")
    func context() async throws {
        let options = EngineOptions(sequences: 1, batchTokens: 1, kvMemory: page * 8)
        try await model.withEngine(options) { engine in
            #expect(engine.contextLength % KVLayout.pageTokens == 0 && engine.contextLength >= 4 * KVLayout.pageTokens)
            #expect(engine.memory.bytes == page * 8 && engine.metrics.kvPages == 8)
            let long = GenerationRequest(prompt: [Int32](repeating: 1, count: engine.contextLength))
            let error = #expect(throws: EngineError.self) { try engine.submit(long) }
            #expect(error?.kind == .promptTooLong && error?.description.contains("\(engine.contextLength)") == true)
        }
        for memory in [1, page * 8] {
            let error = await #expect(throws: EngineError.self) {
                try await model.withEngine(EngineOptions(contextLength: 400, kvMemory: memory)) { _ in }
            }
            #expect(error?.description.contains("a context of 400 needs") == true)
        }
    }

    @Test("without a size the memory suffices for every sequence, or is what the machine can spare")
    func defaultSize() async throws {
        try await model.withEngine(EngineOptions(sequences: 3, batchTokens: 64, contextLength: 100)) { engine in
            #expect(engine.metrics.kvPages >= 3 * 4 && engine.metrics.kvPages <= 3 * 8)
        }
    }

    @Test("what an earlier prompt had in common is reported as cached, and only with the same salt")
    func cachedTokens() async throws {
        var generator = SeededGenerator(seed: 5)
        let prompt = model.randomTokens(100, using: &generator)
        try await model.withEngine { engine in
            func cached(_ prompt: [Int32], salt: String = "", scored: Bool = false) async throws -> Int? {
                var request = GenerationRequest(prompt: prompt, maxTokens: 1, promptLogprobs: scored ? 0 : nil)
                request.cacheSalt = salt
                let generation = try engine.submit(request)
                _ = try await generation.events()
                return generation.usage?.cachedTokens
            }
            // The last token of a prompt is always computed.
            let found = [
                try await cached(prompt), try await cached(prompt), try await cached(prompt, salt: "a"),
                try await cached(prompt, scored: true), try await cached(Array(prompt.prefix(64))),
                try await cached(Array(prompt.prefix(64)) + [1]),
            ]
            #expect(found == [0, 96, 0, 0, 32, 64])
            #expect(engine.metrics.prefixCacheHits == 96 + 32 + 64)
            #expect(engine.metrics.isIdle && engine.metrics.kvPagesFindable > 0)
        }
    }

    @Test("a conversation finds its own answer again")
    func conversation() async throws {
        try await model.withEngine { engine in
            let first = GenerationRequest(
                prompt: [1, 2, 3], sampling: SamplingParameters(temperature: 0), maxTokens: 80)
            let answer = try await engine.submit(first).events().tokens.map(\.id)
            let generation = try engine.submit(GenerationRequest(prompt: first.prompt + answer + [4, 5], maxTokens: 1))
            _ = try await generation.events()
            #expect(generation.usage?.cachedTokens == 64)
        }
    }

    @Test("tenants take turns, however many requests one of them has waiting")
    func tenants() async throws {
        let gate = Gate()
        try await model.withEngine(EngineOptions(sequences: 1), gate: gate) { engine in
            func submit(_ tenant: String) throws -> Generation {
                var request = GenerationRequest(prompt: [1], maxTokens: 4)
                request.tenant = tenant
                return try engine.submit(request)
            }
            let greedy = try (0..<8).map { _ in try submit("greedy") }
            let modest = try submit("modest")
            gate.open()
            for generation in greedy + [modest] { _ = try await generation.events() }
            let ends = try greedy.map { try #require($0.usage?.queueTime) }
            let waited = try #require(modest.usage?.queueTime)
            #expect(ends.count { $0 < waited } <= 2)
        }
    }
}
