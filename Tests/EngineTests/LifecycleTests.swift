import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// How requests begin, end, and share the engine.
@Suite(.timeLimit(.minutes(2))) struct LifecycleTests {
    private let model: Reference
    private let long = GenerationRequest(prompt: [1, 2, 3])

    init() throws { model = try Reference.any() }

    @Test("a stop token ends the generation and is its last token")
    func stopToken() async throws {
        try await model.withEngine { engine in
            var request = GenerationRequest(
                prompt: [5, 6], sampling: SamplingParameters(temperature: 1, seed: 1), maxTokens: 12)
            let free = try await engine.submit(request).events().tokens.map(\.id)
            request.stopTokens = [free[5]]
            let events = try await engine.submit(request).events()
            let end = try #require(free.firstIndex(of: free[5])) + 1
            #expect(events.tokens.map(\.id) == Array(free.prefix(end)))
            #expect(events.last == .finished(.stop))
        }
    }

    @Test("without a maximum the context is filled to its last position")
    func contextEnd() async throws {
        try await model.withEngine(EngineOptions(contextLength: 40)) { engine in
            #expect(engine.contextLength == 40)
            let generation = try engine.submit(long)
            let events = try await generation.events()
            #expect(events.tokens.count == 37 && events.last == .finished(.length))
            let full = GenerationRequest(prompt: [Int32](repeating: 1, count: 40), maxTokens: 0)
            #expect(try await engine.submit(full).events() == [.finished(.length)])
        }
    }

    @Test("usage is known at the end")
    func usage() async throws {
        let gate = Gate()
        try await model.withEngine(gate: gate) { engine in
            let generation = try engine.submit(GenerationRequest(prompt: [1, 2, 3], maxTokens: 5))
            #expect(generation.usage == nil)
            gate.open()
            _ = try await generation.events()
            let usage = try #require(generation.usage)
            #expect(usage.promptTokens == 3 && usage.generatedTokens == 5)
            let (queued, first) = (try #require(usage.queueTime), try #require(usage.timeToFirstToken))
            #expect(queued >= .zero && first > queued && usage.totalTime > first)
        }
    }

    @Test("a long prompt stalls nobody: others get a token in every step, and a short prompt waits for one chunk")
    func fairness() async throws {
        let gate = Gate(steps: 0)
        try await model.withEngine(EngineOptions(sequences: 4, batchTokens: 17), gate: gate) { engine in
            let decoding = try engine.submit(long)
            try await gate.allow(1, of: engine)
            var generator = SeededGenerator(seed: 1)
            let prompt = model.randomTokens(400, using: &generator)
            let prefilling = try engine.submit(GenerationRequest(prompt: prompt, maxTokens: 1))
            // The step that is held was planned before the long prompt came; the next is the long prompt's first.
            try await gate.allow(2, of: engine)
            let short = try engine.submit(GenerationRequest(prompt: [7, 8, 9], maxTokens: 1))
            // One that was planned already, and the short one's turn.
            try await gate.allow(2, of: engine)
            #expect(try await short.events().tokens.count == 1)
            try await gate.allow(40, of: engine)
            #expect(try await prefilling.events().tokens.count == 1)
            decoding.cancel()
            gate.open()
            let tokens = try await decoding.events().tokens.count
            let rows = gate.rows
            #expect(rows.max() == 17)
            #expect(rows.prefix(6) == [3, 1, 17, 17, 17, 17])
            #expect(tokens >= rows.count - 1, "one in every step but the last, which the cancellation may meet")
        }
    }

    @Test("beyond the queue a request is refused as overloaded, at once")
    func overload() async throws {
        let gate = Gate()
        try await model.withEngine(EngineOptions(sequences: 2, queue: 1), gate: gate) { engine in
            let running = try engine.submit(long)
            try await gate.allow(1, of: engine)
            let accepted = try (0..<2).map { _ in try engine.submit(GenerationRequest(prompt: [1], maxTokens: 1)) }
            let error = #expect(throws: EngineError.self) { try engine.submit(long) }
            #expect(error?.kind == .overloaded)
            // The step that is held was planned before they came; the next is the first one's, and its last.
            try await gate.allow(2, of: engine)
            #expect(engine.metrics.running + engine.metrics.waiting == 2)
            running.cancel()
            gate.open()
            #expect(try await running.events().last == .finished(.cancelled))
            for generation in accepted { #expect(try await generation.events().tokens.count == 1) }
            #expect(engine.metrics.isIdle)
            #expect(try await engine.submit(GenerationRequest(prompt: [1], maxTokens: 1)).events().count == 2)
        }
    }

    @Test("when experts are unavailable for a while the requests wait, and their answers do not change")
    func recovery() async throws {
        let gate = Gate()
        let asked = GenerationRequest(prompt: [1, 2, 3], sampling: .init(temperature: 1, seed: 7), maxTokens: 8)
        let expected = try await model.withEngine { engine in
            try await engine.submit(asked).events().tokens
        }
        try await model.withEngine(EngineOptions(sequences: 2), gate: gate) { engine in
            let requests = try (0..<3).map { _ in try engine.submit(asked) }
            // Before the prompt, between chunks of it and among its answers.
            for step in 0..<10 {
                if step % 3 != 1 { gate.failNext() }
                try await gate.allow(1, of: engine)
            }
            gate.open()
            for request in requests { #expect(try await request.events().tokens == expected) }
            #expect(engine.metrics.isIdle)
        }
    }

    @Test("when experts are unavailable for too long the step's requests end with that error, and the next ones run")
    func expertsUnavailable() async throws {
        let gate = Gate()
        var options = EngineOptions(sequences: 1)
        options.recoverySeconds = 0
        try await model.withEngine(options, gate: gate) { engine in
            let failing = try engine.submit(GenerationRequest(prompt: [1], maxTokens: 3))
            let waiting = try engine.submit(GenerationRequest(prompt: [1], maxTokens: 3))
            gate.failNext()
            gate.open()
            let error = await #expect(throws: EngineError.self) { try await failing.events() }
            #expect(error?.kind == .expertsUnavailable)
            #expect(failing.usage?.generatedTokens == 0)
            #expect(try await waiting.events().tokens.count == 3)
        }
    }

    @Test("an engine whose model cannot be loaded says why, and one with impossible options too")
    func start() async throws {
        struct Missing: Error {}
        await #expect(throws: Missing.self) { try await Engine { throw Missing() } }
        for options in [
            EngineOptions(sequences: 0), EngineOptions(queue: -1), EngineOptions(batchTokens: 0),
            EngineOptions(contextLength: 0), EngineOptions(queue: .max, contextLength: .max),
        ] {
            await #expect(throws: EngineError.self) { try await model.withEngine(options) { _ in } }
        }
    }
}
