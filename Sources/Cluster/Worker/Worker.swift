public import Checkpoints
import Foundation
package import Transformer

/// An expert worker: dials a coordinator, and computes the experts that it is given, until it is stopped.
public final class Worker: Sendable {
    let model: ModelIdentity
    let join: Endpoint
    let protection: Protection<WorkerKeys>
    let threads: Int
    let memoryBudget: UInt64
    let name: String
    let log: Log
    /// Makes the experts of a precision; called on the thread that uses them.
    let makeExperts: @Sendable (Precision) throws -> any ExpertExecutor
    /// Brings experts into memory, and gives up as soon as they are not wanted any more.
    let prefetch: @Sendable (ExpertSet, _ isWanted: () -> Bool) -> Void
    let stopping = StopFlag()
    let wakeup: Wakeup

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
            model: ModelIdentity(checkpoint),
            join: Endpoint(join, beyondThisMachine: protection.reachesBeyondThisMachine), protection: protection,
            threads: threads, memory: memory,
            name: "\(Self.hostName):\(getpid())", log: log,
            makeExperts: { try LocalExperts(checkpoint: checkpoint, precision: $0, threads: threads) },
            prefetch: { checkpoint.prefetch($0, isWanted: $1) })
    }

    package init(
        model: ModelIdentity, join: Endpoint, protection: Protection<WorkerKeys> = .thisMachineOnly, threads: Int,
        memory: Int?, name: String, log: Log,
        makeExperts: @escaping @Sendable (Precision) throws -> any ExpertExecutor,
        prefetch: @escaping @Sendable (ExpertSet, _ isWanted: () -> Bool) -> Void = { _, _ in }
    ) throws {
        self.model = model
        self.join = join
        self.protection = protection
        self.threads = threads
        memoryBudget = memory.map { UInt64(max($0, 0)) } ?? .max
        self.name = name
        self.log = log
        self.makeExperts = makeExperts
        self.prefetch = prefetch
        wakeup = try Wakeup()
    }

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
