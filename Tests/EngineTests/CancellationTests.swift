import Checkpoints
import Engine
import TestSupport
import Testing
import Transformer

/// A cancelled request is gone one step later, in whatever state it was.
@Suite(.timeLimit(.minutes(2))) struct CancellationTests {
    enum State: CaseIterable { case queued, prefilling, decoding }
    enum Way: CaseIterable { case cancel, dropped, task }

    @Test("cancelled, dropped, or its task cancelled", arguments: State.allCases, Way.allCases)
    func cancellation(state: State, way: Way) async throws {
        let model = try Reference.any()
        let gate = Gate()
        let options = EngineOptions(sequences: state == .queued ? 1 : 4, batchTokens: 8)
        try await model.withEngine(options, gate: gate) { engine in
            let other = try engine.submit(GenerationRequest(prompt: [1]))
            try await gate.allow(1, of: engine)
            var generator = SeededGenerator(seed: 2)
            let prompt = model.randomTokens(state == .prefilling ? 500 : 3, using: &generator)
            var generation: Generation? = try engine.submit(GenerationRequest(prompt: prompt))
            try await gate.allow(3, of: engine)
            #expect(engine.metrics.running == (state == .queued ? 1 : 2))
            #expect(engine.metrics.waiting == (state == .queued ? 1 : 0))
            let used = engine.metrics.kvPagesUsed

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
            if state != .queued { #expect(engine.metrics.kvPagesUsed < used) }
            other.cancel()
            gate.open()
            try await eventually { engine.metrics.isIdle }
        }
    }

    @Test(
        "a preempted request can be cancelled, or run out of time, and its place goes to the next",
        arguments: [true, false])
    func preempted(isCancelled: Bool) async throws {
        let model = try Reference.any()
        let gate = Gate()
        let page = KVLayout(config: model.config, format: .float32).pageBytes
        let options = EngineOptions(sequences: 4, batchTokens: 32, contextLength: 96, kvMemory: page * 7)
        try await model.withEngine(options, gate: gate) { engine in
            let older = try engine.submit(GenerationRequest(prompt: [1, 2, 3]))
            var request = GenerationRequest(prompt: [4, 5, 6])
            if !isCancelled { request.deadline = .now + .seconds(3) }
            let newer = try engine.submit(request)
            for _ in 0..<90 where engine.metrics.preempted == 0 { try await gate.allow(1, of: engine) }
            #expect(engine.metrics.running == 1 && engine.metrics.waiting == 1 && engine.metrics.preemptions == 1)
            if isCancelled {
                newer.cancel()
                try await gate.allow(2, of: engine)
                #expect(try await newer.events().last == .finished(.cancelled))
            } else {
                try await Task.sleep(until: request.deadline ?? .now, clock: .continuous)
                try await gate.allow(2, of: engine)
                let error = await #expect(throws: EngineError.self) { try await newer.events() }
                #expect(error?.kind == .deadlineExceeded)
            }
            #expect(engine.metrics.preempted == 0 && engine.metrics.running == 1 && engine.metrics.waiting == 0)
            gate.open()
            #expect(try await older.events().last == .finished(.length))
            try await eventually { engine.metrics.isIdle }
        }
    }

    @Test("a request that waits ends with an error when its time is over")
    func deadlineInQueue() async throws {
        let gate = Gate()
        try await Reference.any().withEngine(EngineOptions(sequences: 1), gate: gate) { engine in
            let running = try engine.submit(GenerationRequest(prompt: [1]))
            var request = GenerationRequest(prompt: [1])
            request.deadline = .now
            let late = try engine.submit(request)
            try await gate.allow(2, of: engine)
            let error = await #expect(throws: EngineError.self) { try await late.events() }
            #expect(error?.kind == .deadlineExceeded)
            running.cancel()
        }
    }

    @Test("cancelling twice, or after the end, is harmless")
    func afterTheEnd() async throws {
        try await Reference.any().withEngine { engine in
            let generation = try engine.submit(GenerationRequest(prompt: [1], maxTokens: 2))
            #expect(try await generation.events().last == .finished(.length))
            generation.cancel()
            generation.cancel()
            #expect(try await engine.submit(GenerationRequest(prompt: [1], maxTokens: 2)).events().count == 3)
        }
    }
}
