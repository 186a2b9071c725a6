public import Checkpoints
import Foundation
import Synchronization
package import Transformer

/// An expert worker: dials a coordinator, and computes the experts that it is given, until it is stopped.
public final class Worker: Sendable {
    /// Its own checkpoint's experts; nil where the coordinator is to give them.
    let supply: ExpertSupply?
    let join: Endpoint
    let protection: Protection<WorkerKeys>
    let threads: Int
    let memoryBudget: UInt64
    let name: String
    let log: Log
    /// Told bytes of experts in memory, and of all that this worker is to have, while the coordinator gives them.
    let progress: @Sendable (_ loaded: Int, _ wanted: Int) -> Void
    private let cache: WeightCache?
    /// What came from a coordinator, kept from one session to the next.
    private let store = Mutex<WeightStore?>(nil)
    let stopping = StopFlag()
    let wakeup: Wakeup

    /// A worker with a checkpoint of its own.
    /// - Parameters:
    ///   - join: the coordinator's endpoint: `tcp://HOST:PORT` or `ipc://PATH`.
    ///   - protection: which decides whether HOST may be other than this machine's loopback.
    ///   - threads: for computing; also this worker's weight when experts are shared out.
    ///   - memory: bytes of experts to hold at most; nil for no limit.
    /// - Throws: ``ClusterError`` for an endpoint that `protection` does not allow, `CheckpointError`.
    public convenience init(
        checkpoint: Checkpoint, join: String, protection: Protection<WorkerKeys> = .thisMachineOnly, threads: Int,
        memory: Int? = nil, log: Log
    ) throws {
        try self.init(
            supply: ExpertSupply(checkpoint, threads: threads),
            join: Endpoint(join, beyondThisMachine: protection.reachesBeyondThisMachine), protection: protection,
            threads: threads, memory: memory, name: Self.defaultName, log: log)
    }

    /// A worker that has its experts' tensors from the coordinator.
    /// - Parameters:
    ///   - join: the coordinator's endpoint: `tcp://HOST:PORT` or `ipc://PATH`.
    ///   - protection: which decides whether HOST may be other than this machine's loopback.
    ///   - threads: for computing; also this worker's weight when experts are shared out.
    ///   - memory: bytes of experts to hold at most.
    ///   - cache: where they are kept for the next start; nil keeps them in memory alone.
    ///   - progress: told bytes of experts in memory, and of all that this worker is to have; from one thread.
    /// - Throws: ``ClusterError`` for an endpoint that `protection` does not allow.
    public convenience init(
        join: String, protection: Protection<WorkerKeys> = .thisMachineOnly, threads: Int, memory: Int,
        cache: WeightCache?, log: Log,
        progress: @escaping @Sendable (_ loaded: Int, _ wanted: Int) -> Void = { _, _ in }
    ) throws {
        try self.init(
            supply: nil, join: Endpoint(join, beyondThisMachine: protection.reachesBeyondThisMachine),
            protection: protection, threads: threads, memory: memory, cache: cache, name: Self.defaultName, log: log,
            progress: progress)
    }

    /// A worker whose experts are made by the caller.
    package convenience init(
        model: ModelIdentity, join: Endpoint, protection: Protection<WorkerKeys> = .thisMachineOnly, threads: Int,
        memory: Int?, name: String, log: Log,
        makeExperts: @escaping @Sendable (Precision) throws -> any ExpertExecutor
    ) throws {
        try self.init(
            supply: ExpertSupply(model: model, makeExperts: makeExperts, load: { _, _ in }), join: join,
            protection: protection, threads: threads, memory: memory, name: name, log: log)
    }

    private init(
        supply: ExpertSupply?, join: Endpoint, protection: Protection<WorkerKeys>, threads: Int, memory: Int?,
        cache: WeightCache? = nil, name: String, log: Log,
        progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
    ) throws {
        self.supply = supply
        self.join = join
        self.protection = protection
        self.threads = threads
        memoryBudget = memory.map { UInt64(max($0, 0)) } ?? .max
        self.cache = cache
        self.name = name
        self.log = log
        self.progress = progress
        wakeup = try Wakeup()
    }

    /// What an earlier session has brought here of that model, to be added to.
    func store(for description: ModelDescription) -> WeightStore {
        store.withLock { store in
            if let store, store.model.digest == description.digest, store.expertConfig == description.experts {
                return store
            }
            let new = WeightStore(description, cache: cache)
            store = new
            return new
        }
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

    /// Serves until ``stop()``: joins whenever there is a coordinator, and again when it comes back.
    /// - Throws: ``ClusterError`` when the coordinator refuses this worker for good, or its experts cannot be computed.
    public func run() throws {
        protection.warn(log)
        var pause = Duration.milliseconds(50)
        let complaints = HandshakeComplaints(self)
        while !stopping.isSet {
            let session = try WorkerSession(self, complaints)
            switch try session.run() {
            case .stopped: return
            case .refused(let reason):
                log(.error, "the coordinator refused this worker", [("reason", reason)])
                throw ClusterError("the coordinator at \(join) refused this worker: \(reason)")
            case .notAdmitted: pause = min(pause * 2, .seconds(2))
            case .lost(let reason, let wasServing):
                log(.warning, "lost the coordinator; joining again", [("reason", reason)])
                pause = wasServing ? .milliseconds(50) : min(pause * 2, .seconds(2))
            }
            var poller = ZMQPoller([], wakeup: wakeup)
            _ = try poller.wait(milliseconds: pause.milliseconds)
        }
    }

    /// Lets ``run()`` return, from any thread, once the coordinator has shared this worker's experts out among others.
    public func stop() {
        stopping.set()
        wakeup.signal()
    }
}
