import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// Lines that were logged, to be waited for.
final class LogRecorder: Sendable {
    private let lines = Mutex<[String]>([])
    var log: Log {
        Log { level, message, fields in
            let text = "\(level.rawValue) \(message) " + fields.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
            self.lines.withLock { $0.append(text) }
        }
    }
    func contains(_ text: String) -> Bool { lines.withLock { $0.contains { $0.contains(text) } } }
    var all: [String] { lines.withLock { $0 } }
}

/// A coordinator and workers over loopback TCP, in this process.
final class TestCluster {
    let precision: Precision
    let coordinator: Coordinator
    let log = LogRecorder()
    private(set) var workers: [RunningWorker] = []

    static let timing: ClusterTiming = {
        var timing = ClusterTiming()
        timing.heartbeatInterval = .milliseconds(200)
        return timing
    }()

    init(
        _ precision: Precision, workers: Int = 0, localExperts: Bool = true, replicas: Int = 1,
        bind: String = "tcp://127.0.0.1:0", protection: Protection<CoordinatorKeys> = .thisMachineOnly,
        timing: ClusterTiming = TestCluster.timing,
        options: DispatchOptions = DispatchOptions(hedging: .never, verifyRate: 0)
    ) throws {
        self.precision = precision
        coordinator = try Coordinator(
            model: FakeModel.identity, precision: precision, bind: Endpoint(bind), protection: protection,
            localExperts: localExperts ? FakeExperts(precision) : nil, replicas: replicas, timing: timing,
            options: options, log: log.log)
        for _ in 0..<workers { try addWorker() }
    }

    /// Not retained as members, so that threads of a failed test end too.
    deinit {
        for worker in workers { worker.stop() }
        coordinator.shutdown()
    }

    @discardableResult
    func addWorker(
        protection: Protection<WorkerKeys> = .thisMachineOnly, before: @escaping @Sendable () throws -> Void = {}
    ) throws -> RunningWorker {
        let worker = try RunningWorker(
            join: coordinator.endpoint, protection: protection, log: log.log, before: before)
        workers.append(worker)
        return worker
    }

    func ready(workers count: Int) async throws {
        try await withDeadline { [coordinator] in try await coordinator.waitUntilReady(workers: count) }
    }

    /// The outputs of one random batch in every layer, as the cluster computes them.
    func compute(seed: UInt64, rows: Int = 5, topK: Int = 3) throws -> [[UInt8]] {
        try coordinator.executor.beginStep()
        return try (0..<FakeModel.shape.layers).map {
            try TestBatch(precision, layer: $0, seed: seed, rows: rows, topK: topK).run(coordinator.executor)
        }
    }

    /// The same outputs, computed without a cluster.
    func expected(seed: UInt64, rows: Int = 5, topK: Int = 3) throws -> [[UInt8]] {
        try (0..<FakeModel.shape.layers).map {
            try TestBatch(precision, layer: $0, seed: seed, rows: rows, topK: topK).run(FakeExperts(precision))
        }
    }
}

/// A worker on a thread of its own.
final class RunningWorker: Sendable {
    let worker: Worker
    private let result = Mutex<Result<Void, any Error>?>(nil)

    convenience init(
        join: Endpoint, protection: Protection<WorkerKeys> = .thisMachineOnly,
        model: ModelIdentity = FakeModel.identity, log: Log, memory: Int? = nil,
        before: @escaping @Sendable () throws -> Void = {}
    ) throws {
        try self.init(
            joining: [CoordinatorAddress(join, protection: protection)], model: model, log: log, memory: memory
        ) { FakeExperts($0, shape: model.shape, before: before) }
    }

    init(
        joining coordinators: [CoordinatorAddress], model: ModelIdentity = FakeModel.identity, log: Log = .silent,
        memory: Int? = nil,
        makeExperts: @escaping @Sendable (Precision) throws -> any ExpertExecutor = { FakeExperts($0) }
    ) throws {
        worker = try Worker(
            model: model, coordinators: coordinators, threads: 1, memory: memory, name: "test", log: log,
            makeExperts: makeExperts)
        let thread = Thread { [self] in
            let result = Result { try worker.run() }
            self.result.withLock { $0 = result }
        }
        thread.start()
    }

    func stop() { worker.stop() }

    /// The error with which the worker ended.
    var failure: (any Error)? {
        result.withLock { if case .failure(let error) = $0 { error } else { nil } }
    }
    var hasEnded: Bool { result.withLock { $0 != nil } }
}

/// Random rows for one layer.
struct TestBatch {
    let format: ExpertRowFormat
    let layer: Int
    let rows: Int
    var values: [UInt8]
    var scales: [UInt8]
    let assignments: [ExpertAssignment]

    /// - Parameter expert: to which all rows go; nil chooses experts by chance.
    init(
        _ precision: Precision, shape: ModelShape = FakeModel.shape, layer: Int, seed: UInt64, rows: Int, topK: Int,
        expert: Int32? = nil
    ) {
        format = ExpertRowFormat(precision: precision, hiddenSize: shape.hiddenSize)
        self.layer = layer
        self.rows = rows
        var random = SeededGenerator(seed: seed &+ UInt64(layer))
        values = (0..<rows * format.valueBytes).map { _ in .random(in: .min ... .max, using: &random) }
        scales = (0..<rows * format.scaleBytes).map { _ in .random(in: .min ... .max, using: &random) }
        assignments = (0..<rows * topK).map {
            ExpertAssignment(
                row: Int32($0 / topK), expert: expert ?? .random(in: 0..<Int32(shape.experts), using: &random),
                slot: Int32($0))
        }
    }

    func run(_ experts: any ExpertExecutor) throws -> [UInt8] {
        try withBatch { batch in
            try experts.run(batch)
            let count = batch.assignments.count * format.outputBytes
            return Array(UnsafeRawBufferPointer(start: batch.outputs, count: count))
        }
    }

    /// Calls `body` with the batch and zeroed memory for its outputs.
    func withBatch<Result>(_ body: (ExpertBatch) throws -> Result) throws -> Result {
        let outputs = UnsafeMutableRawBufferPointer.allocate(
            byteCount: assignments.count * format.outputBytes, alignment: 64)
        defer { outputs.deallocate() }
        outputs.initializeMemory(as: UInt8.self, repeating: 0)
        return try values.withUnsafeBytes { values in
            try scales.withUnsafeBytes { scales in
                try assignments.withUnsafeBufferPointer { assignments in
                    let start = try #require(values.baseAddress)
                    return try body(
                        ExpertBatch(
                            layer: layer, rowCount: rows, values: start, scales: scales.baseAddress ?? start,
                            assignments: assignments, outputs: #require(outputs.baseAddress)))
                }
            }
        }
    }
}

/// Waits for a condition, and gives up after twenty seconds.
func eventually(_ what: String, _ condition: () -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !condition() {
        try #require(ContinuousClock.now < deadline, "did not happen within 20 s: \(what)")
        try await Task.sleep(for: .milliseconds(5))
    }
}

func withDeadline(_ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: .seconds(20))
            throw TimeoutError()
        }
        try await group.next()
        group.cancelAll()
    }
}

struct TimeoutError: Error {}
