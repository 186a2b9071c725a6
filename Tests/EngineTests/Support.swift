import Checkpoints
import Engine
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

extension Reference {
    /// The smallest, for what does not depend on the model.
    static func any() throws -> Reference { try #require(all.first) }

    /// Runs `body` with an engine, and shuts it down.
    func withEngine<Result>(
        _ options: EngineOptions = EngineOptions(), precision: Precision = .exact,
        experts: @escaping @Sendable (Transformer) -> any ExpertExecutor = { $0.makeLocalExperts() },
        _ body: (Engine) async throws -> Result
    ) async throws -> Result {
        let checkpoint = checkpoint
        let engine = try await Engine(options: options) {
            let transformer = try Transformer(checkpoint: checkpoint, precision: precision, threads: 1)
            return (transformer, experts(transformer))
        }
        do {
            let result = try await body(engine)
            await engine.shutdown()
            return result
        } catch {
            await engine.shutdown()
            throw error
        }
    }

    /// Runs `body` with an engine whose steps wait at `gate`, which is open at the end.
    func withEngine<Result>(
        _ options: EngineOptions = EngineOptions(), gate: Gate, _ body: (Engine) async throws -> Result
    ) async throws -> Result {
        try await withEngine(options, experts: { GatedExperts(gate: gate, experts: $0.makeLocalExperts()) }) { engine in
            defer { gate.open() }
            return try await body(engine)
        }
    }
}

extension Generation {
    /// Every event.
    func events() async throws -> [GenerationEvent] {
        var events: [GenerationEvent] = []
        for try await event in self { events.append(event) }
        return events
    }
}

extension [GenerationEvent] {
    var tokens: [ScoredToken] { compactMap { if case .token(let token) = $0 { token } else { nil } } }
    var prompt: [ScoredToken]? { compactMap { if case .prompt(let scores) = $0 { scores } else { nil } }.first }
}

/// Waits until `condition` holds, at most half a minute.
func eventually(_ condition: () -> Bool, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while !condition() {
        try #require(ContinuousClock.now < deadline, sourceLocation: sourceLocation)
        try await Task.sleep(for: .milliseconds(1))
    }
}

/// Lets a test say when steps are computed, and which of them fail. Every property is touched under the lock only.
final class Gate: @unchecked Sendable {
    private let condition = NSCondition()
    private var permits: Int?
    private var isParked = false
    private var failures = 0
    private var stepRows: [Int] = []

    /// Closed, or open with nil, after that many steps.
    init(steps: Int? = 0) { permits = steps }

    /// Rows of each step so far.
    var rows: [Int] { condition.withLock { stepRows } }

    /// The engine stands before a step that it may not begin.
    var isHolding: Bool { condition.withLock { isParked && permits == 0 } }

    func open() { set { permits = nil } }
    func failNext() { set { failures += 1 } }

    /// Lets `steps` steps through, and returns when the engine stands before the next or has nothing to do.
    func allow(_ steps: Int, of engine: Engine) async throws {
        set { permits = (permits ?? 0) + steps }
        try await eventually { isHolding || engine.metrics.running + engine.metrics.waiting == 0 }
    }

    private func set(_ change: () -> Void) {
        condition.withLock {
            change()
            condition.broadcast()
        }
    }

    fileprivate func pass() throws {
        try condition.withLock {
            isParked = true
            while permits == 0 { condition.wait() }
            isParked = false
            permits = permits.map { $0 - 1 }
            guard failures == 0 else {
                failures -= 1
                throw Unavailable()
            }
        }
    }

    fileprivate func record(_ rows: Int) { condition.withLock { stepRows.append(rows) } }

    struct Unavailable: Error {}
}

private final class GatedExperts: ExpertExecutor {
    private let gate: Gate
    private let experts: LocalExperts

    init(gate: Gate, experts: LocalExperts) {
        self.gate = gate
        self.experts = experts
    }

    func beginStep() throws {
        try gate.pass()
        experts.beginStep()
    }

    func start(_ batch: ExpertBatch) throws {
        if batch.layer == 0 { gate.record(batch.rowCount) }
        try experts.start(batch)
    }

    func finish() { experts.finish() }
}
