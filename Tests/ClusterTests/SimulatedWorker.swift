import Cluster
import TestSupport
import Transformer

/// A worker's process, as far as a coordinator can tell: it joins, loads, computes and answers, unless something is wrong.
struct SimulatedWorker {
    /// Rows of one layer to be computed.
    struct Request {
        let epoch: UInt64
        let sequence: UInt64
        let layer: Int
        let rows: [Int]
        let experts: [Int]
    }

    /// What is sent back. No values: it could not compute them.
    struct Answer {
        let id: WorkerID
        let epoch: UInt64
        let sequence: UInt64
        var first = 0
        var values: [UInt64]?

        /// As it travels: whole or in parts.
        func parts(_ random: inout SeededGenerator) -> [Answer] {
            guard let values, values.count > 1, Bool.random(using: &random) else { return [self] }
            let cut = Int.random(in: 1..<values.count, using: &random)
            return [(0, values.prefix(cut)), (cut, values.dropFirst(cut))].map {
                Answer(id: id, epoch: epoch, sequence: sequence, first: $0, values: Array($1))
            }
        }
    }

    /// Of its session; a new one each time that it joins.
    private(set) var id: WorkerID
    /// Where its processes run, one after the other.
    private let host: String
    /// Whether the process exists.
    private(set) var isRunning = true
    /// It was refused, or has left: it does not come back.
    private(set) var isOver = false
    var isStopped = false
    /// What does not pass: what it says, and what is said to it.
    var isMute = false, isDeaf = false
    /// Times what it takes others to compute.
    var slowness = 1
    /// Of a thousand rows, how many it gets wrong.
    var errors = 0
    private(set) var isLeaving = false
    private(set) var startAt: Int

    /// Control messages on their way, in order.
    var toCoordinator: [ControlMessage] = []
    var fromCoordinator: [ControlMessage] = []
    /// Arrived while it was stopped.
    var waiting: [Request] = []
    var busyUntil = 0
    private var hasJoined = false
    private var assigned: [(epoch: UInt64, experts: ExpertSet)] = []
    private var loading: (epoch: UInt64, until: Int)?
    private var heardAt = 0
    private var spokeAt = 0
    /// Said to be loaded.
    private(set) var loaded: Set<UInt64> = []

    init(id: WorkerID, host: String, startAt: Int) {
        self.id = id
        self.host = host
        self.startAt = startAt
    }

    var isConnected: Bool { isRunning && !isOver && hasJoined }
    var isHealthy: Bool { isRunning && !isOver && !isStopped && !isMute && !isDeaf && slowness == 1 && errors == 0 }

    /// The end of the process; another one starts in its place.
    mutating func kill(_ next: WorkerID, startAt: Int) {
        self = SimulatedWorker(id: next, host: host, startAt: startAt)
        isRunning = false
    }

    mutating func leave() {
        isLeaving = true
        toCoordinator.append(.leave(reason: "stopped"))
    }

    mutating func recover() { (isMute, isDeaf, slowness, errors) = (false, false, 1, 0) }

    /// What it has in an epoch; earlier ones are forgotten.
    mutating func experts(of epoch: UInt64) -> ExpertSet? {
        guard let index = assigned.firstIndex(where: { $0.epoch == epoch }) else { return nil }
        assigned.removeFirst(index)
        return assigned[0].experts
    }

    func holds(_ epoch: UInt64, exactly experts: ExpertSet) -> Bool {
        loaded.contains(epoch) && assigned.contains { $0.epoch == epoch && $0.experts == experts }
    }

    /// A turn of its control thread.
    mutating func turn(at time: Int, _ random: inout SeededGenerator) {
        guard !isOver, !isStopped, time >= startAt else { return }
        if !isRunning || !hasJoined { return join(at: time) }
        if !isDeaf {
            let messages = fromCoordinator
            fromCoordinator.removeAll(keepingCapacity: true)
            for message in messages {
                heardAt = time
                guard !take(message, at: time, &random) else { return }
            }
        }
        if time - heardAt > 1_000_000 { return isLeaving ? isOver = true : begin(at: time, &random) }
        if let loading, time >= loading.until {
            self.loading = nil
            loaded.insert(loading.epoch)
            toCoordinator.append(.ready(epoch: loading.epoch))
            spokeAt = time
        } else if time - spokeAt >= 100_000 {
            toCoordinator.append(.heartbeat)
            spokeAt = time
        }
    }

    private mutating func join(at time: Int) {
        isRunning = true
        hasJoined = true
        (heardAt, spokeAt) = (time, time)
        toCoordinator.append(
            .join(
                JoinRequest(
                    name: "\(host):1", memoryBudget: .max, threads: 1, digest: DispatchSimulation.model.digest,
                    shape: DispatchSimulation.model.shape, precisions: [.int8])))
    }

    /// Returns whether the session is over.
    private mutating func take(_ message: ControlMessage, at time: Int, _ random: inout SeededGenerator) -> Bool {
        switch message {
        case .assign(let assignment):
            assigned.append((assignment.epoch, assignment.experts))
            loading = (assignment.epoch, time + .random(in: 0...100_000, using: &random))
            return false
        case .refuse(let refusal) where refusal.cause != .unknownMember: isOver = true
        case .leave, .refuse: if isLeaving { isOver = true } else { begin(at: time, &random) }
        default: return false
        }
        return true
    }

    /// Joins anew, under another identity.
    private mutating func begin(at time: Int, _ random: inout SeededGenerator) {
        let (mute, deaf, slow, wrong) = (isMute, isDeaf, slowness, errors)
        self = SimulatedWorker(id: .simulated(&random), host: host, startAt: time + 10_000)
        (isMute, isDeaf, slowness, errors) = (mute, deaf, slow, wrong)
    }
}

extension WorkerID {
    /// The same for the same seed.
    static func simulated(_ random: inout SeededGenerator) -> WorkerID {
        let bytes = (0..<16).map { _ in UInt8.random(in: 1...255, using: &random) }
        return bytes.withUnsafeBytes(WorkerID.init) ?? WorkerID()
    }
}
