public import Checkpoints
import Foundation
import Synchronization
package import Transformer

/// An expert worker: dials coordinators, and computes the experts that each gives it, until it is stopped.
public final class Worker: Sendable {
    /// Its own checkpoint's experts; nil where the coordinators are to give them.
    let supply: ExpertSupply?
    let coordinators: [CoordinatorAddress]
    /// One for each coordinator's thread.
    let wakeups: [Wakeup]
    let threads: Int
    let memory: WorkerMemory
    let name: String
    let log: Log
    /// Told bytes of experts in memory, and of all that this worker is to have, while a coordinator gives them.
    let progress: @Sendable (_ loaded: Int, _ wanted: Int) -> Void
    let stopping = StopFlag()
    /// Tells it from other workers, at every coordinator.
    let number = UInt64.random(in: .min ... .max)
    /// By coordinator, why it does not take this worker, or cannot be served.
    private let refusals = Mutex<[Int: ClusterError]>([:])

    /// A worker with a checkpoint of its own.
    /// - Parameters:
    ///   - coordinators: each is served as long as it is there, whatever becomes of the others.
    ///   - threads: for computing; also this worker's weight when experts are shared out.
    ///   - memory: bytes of experts to hold at most, of all coordinators together; nil for no limit.
    /// - Throws: `CheckpointError`.
    public convenience init(
        checkpoint: Checkpoint, coordinators: [CoordinatorAddress], threads: Int, memory: Int? = nil, log: Log
    ) throws {
        try self.init(
            supply: ExpertSupply(checkpoint, threads: threads), coordinators: coordinators, threads: threads,
            memory: memory, name: Self.defaultName, log: log)
    }

    /// A worker that has its experts' tensors from the coordinators.
    /// - Parameters:
    ///   - coordinators: each is served as long as it is there, whatever becomes of the others.
    ///   - threads: for computing; also this worker's weight when experts are shared out.
    ///   - memory: bytes of experts to hold at most, of all coordinators together.
    ///   - cache: where they are kept for the next start; nil keeps them in memory alone.
    ///   - progress: told bytes of experts in memory, and of all that this worker is to have; from a thread for each
    ///     coordinator.
    public convenience init(
        coordinators: [CoordinatorAddress], threads: Int, memory: Int, cache: WeightCache?, log: Log,
        progress: @escaping @Sendable (_ loaded: Int, _ wanted: Int) -> Void = { _, _ in }
    ) throws {
        try self.init(
            supply: nil, coordinators: coordinators, threads: threads, memory: memory, cache: cache,
            name: Self.defaultName, log: log, progress: progress)
    }

    /// A worker whose experts are made by the caller.
    package convenience init(
        model: ModelIdentity, coordinators: [CoordinatorAddress], threads: Int, memory: Int?, name: String, log: Log,
        makeExperts: @escaping @Sendable (Precision) throws -> any ExpertExecutor
    ) throws {
        try self.init(
            supply: ExpertSupply(
                stock: ExpertStock(model: model, makeExperts: makeExperts), load: { _, _ in }),
            coordinators: coordinators, threads: threads, memory: memory, name: name, log: log)
    }

    private init(
        supply: ExpertSupply?, coordinators: [CoordinatorAddress], threads: Int, memory: Int?,
        cache: WeightCache? = nil, name: String, log: Log,
        progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
    ) throws {
        self.supply = supply
        self.coordinators = coordinators
        self.threads = threads
        self.name = name
        self.log = log
        self.progress = progress
        let wakeups = try coordinators.map { _ in try Wakeup() }
        self.wakeups = wakeups
        self.memory = WorkerMemory(
            limit: memory.map { UInt64(max($0, 0)) } ?? .max, coordinators: coordinators.count, cache: cache,
            threads: threads, log: log
        ) { for wakeup in wakeups { wakeup.signal() } }
    }

    private static var defaultName: String { "\(hostName):\(getpid())" }

    /// Without the look-up in the network that Foundation's name makes.
    private static var hostName: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard let text = buffer.baseAddress, gethostname(text, buffer.count) == 0 else { return "unknown" }
            buffer[buffer.count - 1] = 0
            return String(cString: text)
        }
    }

    /// Serves until ``stop()``: joins each coordinator whenever it is there, and again when it comes back.
    /// - Throws: ``ClusterError`` when every coordinator refuses this worker for good, or its experts cannot be computed.
    public func run() throws {
        coordinators.first?.protection.warn(log)
        let server = try ExpertServer()
        defer { server.stop() }
        let failure = Mutex<(any Error)?>(nil)
        let threads = coordinators.indices.map { index in
            let joiner = Joiner(self, index: index, server)
            return BackgroundThread("cluster-session") {
                do { try joiner.run() } catch {
                    failure.withLock { $0 = $0 ?? error }
                    self.stop()
                }
            }
        }
        for thread in threads { thread.join() }
        if let error = failure.withLock({ $0 }) { throw error }
        let refusals = refusals.withLock { $0 }
        if refusals.count == coordinators.count, let first = refusals.min(by: { $0.key < $1.key }) { throw first.value }
    }

    /// Lets ``run()`` return, from any thread, once the coordinators have shared this worker's experts out among others.
    public func stop() {
        stopping.set()
        for wakeup in wakeups { wakeup.signal() }
    }

    /// A coordinator does not want this worker, or cannot be served. When that is so of all of them, the worker ends.
    func refused(by coordinator: Int, _ error: ClusterError) {
        let isLast = refusals.withLock {
            $0[coordinator] = error
            return $0.count == coordinators.count
        }
        if isLast { stop() }
    }

    /// A coordinator has taken this worker in.
    func accepted(by coordinator: Int) { refusals.withLock { $0[coordinator] = nil } }
}
