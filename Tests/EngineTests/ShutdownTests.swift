import Checkpoints
import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// How an engine ends.
@Suite(.timeLimit(.minutes(2))) struct ShutdownTests {
    private let model: Reference

    init() throws { model = try Reference.any() }

    @Test("without a drain time requests end with an error, and new ones are refused")
    func immediately() async throws {
        let gate = Gate()
        try await model.withEngine(EngineOptions(sequences: 1), gate: gate) { engine in
            let generations = try (0..<2).map { _ in try engine.submit(GenerationRequest(prompt: [1, 2])) }
            try await gate.allow(3, of: engine)
            async let ended: Void = engine.shutdown()
            gate.open()
            for generation in generations {
                let error = await #expect(throws: EngineError.self) { try await generation.events() }
                #expect(error?.kind == .shuttingDown)
            }
            await ended
            let error = #expect(throws: EngineError.self) { try engine.submit(GenerationRequest(prompt: [1])) }
            #expect(error?.kind == .shuttingDown)
            #expect(engine.metrics.isIdle)
        }
    }

    @Test("with a drain time accepted requests finish, and the wait is no longer than they take")
    func drained() async throws {
        let gate = Gate()
        try await model.withEngine(EngineOptions(sequences: 1), gate: gate) { engine in
            let generations = try (0..<2).map { _ in
                try engine.submit(GenerationRequest(prompt: [1, 2], maxTokens: 10))
            }
            async let ended: Void = engine.shutdown(drain: .seconds(600))
            gate.open()
            for generation in generations { #expect(try await generation.events().tokens.count == 10) }
            await ended
        }
    }

    @Test("an idle engine ends at once, as often as it is told to")
    func idle() async throws {
        try await model.withEngine { engine in
            await engine.shutdown(drain: .seconds(600))
            await engine.shutdown()
        }
    }

    @Test("the thread and its model are gone", arguments: [true, false])
    func threadEnds(isShutDown: Bool) async throws {
        let checkpoint = model.checkpoint
        let seen = Seen()
        var engine: Engine? = try await Engine {
            let transformer = try Transformer(checkpoint: checkpoint, precision: .exact, threads: 1)
            try seen.note(transformer)
            return (transformer, transformer.makeLocalExperts())
        }
        let generation = try engine?.submit(GenerationRequest(prompt: [1]))
        #expect(seen.isThreadAlive && seen.isModelAlive)
        if isShutDown {
            await engine?.shutdown()
            #expect(!seen.isModelAlive)
        }
        engine = nil
        await #expect(throws: EngineError.self) { try await generation?.events() }
        try await eventually { !seen.isThreadAlive && !seen.isModelAlive }
    }
}

/// An engine's thread and model, seen from outside. Both are written before the engine has started, and the model's
/// reference is only ever compared with nil.
private final class Seen: @unchecked Sendable {
    private weak var transformer: Transformer?
    /// PID/task/TID of the thread.
    private var thread = ""

    func note(_ transformer: Transformer) throws {
        self.transformer = transformer
        thread = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")
    }

    var isModelAlive: Bool { transformer != nil }
    var isThreadAlive: Bool { FileManager.default.fileExists(atPath: "/proc/\(thread)") }
}
