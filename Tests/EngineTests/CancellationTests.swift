import Engine
import TestSupport
import Testing

/// A cancelled request is gone one step later, in whatever state it was.
@Suite(.timeLimit(.minutes(2))) struct CancellationTests {
    enum State: CaseIterable { case queued, prefilling, decoding }
    enum Way: CaseIterable { case cancel, dropped, task }

    @Test("cancelled, dropped, or its task cancelled", arguments: State.allCases, Way.allCases)
    func cancellation(state: State, way: Way) async throws {
        let model = try Model.any()
        let gate = Gate()
        let options = EngineOptions(sequences: state == .queued ? 1 : 4, prefillTokens: 8)
        try await model.withEngine(options, gate: gate) { engine in
            let other = try engine.submit(GenerationRequest(prompt: [1]))
            try await gate.allow(1, of: engine)
            var generator = SeededGenerator(seed: 2)
            let prompt = model.tokens(state == .prefilling ? 500 : 3, &generator)
            var generation: Generation? = try engine.submit(GenerationRequest(prompt: prompt))
            try await gate.allow(3, of: engine)
            #expect(engine.metrics.running == (state == .queued ? 1 : 2))
            #expect(engine.metrics.waiting == (state == .queued ? 1 : 0))
            let cached = engine.metrics.cachedTokens

            switch way {
            case .cancel:
                generation?.cancel()
                try await gate.allow(1, of: engine)
                #expect(try await generation?.events().last == .finished(.cancelled))
                #expect(generation?.usage?.promptTokens == prompt.count)
            case .dropped: generation = nil
            case .task:
                let iterated = try #require(generation)
                generation = nil
                let task = Task { try await iterated.events() }
                task.cancel()
                _ = try await task.value
            }
            if way != .cancel { try await gate.allow(1, of: engine) }
            #expect(engine.metrics.running == 1 && engine.metrics.waiting == 0)
            if state != .queued { #expect(engine.metrics.cachedTokens < cached) }
            other.cancel()
            gate.open()
            try await eventually { engine.metrics == EngineMetrics() }
        }
    }

    @Test("cancelling twice, or after the end, is harmless")
    func afterTheEnd() async throws {
        try await Model.any().withEngine { engine in
            let generation = try engine.submit(GenerationRequest(prompt: [1], maxTokens: 2))
            #expect(try await generation.events().last == .finished(.length))
            generation.cancel()
            generation.cancel()
            #expect(try await engine.submit(GenerationRequest(prompt: [1], maxTokens: 2)).events().count == 3)
        }
    }
}
