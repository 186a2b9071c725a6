import Checkpoints
import Engine
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

/// A fixture model, with what the reference implementation computed for it.
struct Model: CustomStringConvertible, Sendable {
    let description: String
    let checkpoint: Checkpoint
    let reference: JSONValue
    private let data: Data

    static let all: [Model] = Fixtures.models.compactMap { try? Model($0) }

    init(_ folder: URL) throws {
        description = folder.lastPathComponent
        checkpoint = try Checkpoint(directory: folder)
        reference = try Fixtures.json(folder.appending(path: "ref/reference.json"))
        data = try Data(contentsOf: folder.appending(path: "ref/reference.bin"))
    }

    /// The smallest, for what does not depend on the model.
    static func any() throws -> Model { try #require(all.first) }

    var prompts: [JSONValue] { reference["prompts"]?.array ?? [] }

    /// A tensor of reference.bin.
    func tensor(_ name: String) throws -> [Float] {
        let entry = try #require(reference["tensors"]?[name])
        let offset = try #require(entry["offset"]?.integer)
        let count = try #require(entry["shape"]?.array).reduce(1) { $0 * ($1.integer ?? 0) }
        return data.withUnsafeBytes { bytes in
            (0..<count).map { bytes.loadUnaligned(fromByteOffset: offset + $0 * 4, as: Float.self) }
        }
    }

    /// Random tokens.
    func tokens(_ count: Int, _ generator: inout SeededGenerator) -> [Int32] {
        (0..<count).map { _ in .random(in: 0..<Int32(checkpoint.config.vocabularySize), using: &generator) }
    }

    /// Runs `body` with an engine, and shuts it down.
    func withEngine<Result>(
        _ options: EngineOptions = EngineOptions(), precision: Precision = .exact, gate: Gate? = nil,
        _ body: (Engine) async throws -> Result
    ) async throws -> Result {
        let checkpoint = checkpoint
        let engine = try await Engine(options: options) {
            let transformer = try Transformer(checkpoint: checkpoint, precision: precision, threads: 1)
            let experts = transformer.makeLocalExperts()
            return (transformer, gate.map { GatedExperts(gate: $0, experts: experts) } ?? experts)
        }
        do {
            let result = try await body(engine)
            gate?.open()
            await engine.shutdown()
            return result
        } catch {
            gate?.open()
            await engine.shutdown()
            throw error
        }
    }
}

func integers(_ value: JSONValue?) -> [Int32] { value?.array?.compactMap { $0.integer.map { Int32($0) } } ?? [] }

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
        experts.start(batch)
    }

    func finish() { experts.finish() }
}
