import Transformer

/// One membership of a worker, from joining to being lost: the control socket and its conversation. The thread that
/// runs it does nothing else, so that a long batch never delays a heartbeat.
final class WorkerSession {
    enum Outcome {
        case stopped
        /// The coordinator does not want this worker, or cannot be served.
        case refused(ClusterError)
        case lost(Departure, String, wasServing: Bool)
        /// The connection did not come about; why has been said.
        case notAdmitted
    }

    private let worker: Worker
    private let joiner: Joiner
    private let complaints: HandshakeComplaints
    /// Bytes of experts that the coordinator is told of.
    private let memory: UInt64
    private let id: WorkerID
    private let context: ZMQContext
    private let control: ZMQSocket
    private var poller: ZMQPoller
    private let counters: DropCounters
    private let arena = WireArena(capacity: 4 * ControlMessage.maximumBytes)
    private let incoming = ZMQMessage()
    /// The worker's own, or the one that the coordinator's model calls for.
    private var supply: ExpertSupply?

    private var timing = ClusterTiming()
    private var clock = AttentiveClock()
    /// By which the coordinator's silence is judged.
    private var now = ContinuousClock.now
    private var lastHeard = ContinuousClock.now
    private var hasHeard = false
    private var nextHeartbeat = ContinuousClock.now
    private var share: ExpertShare?
    /// On its way to the data port.
    private var connecting: DataConnection?
    /// Of the data socket, which is the computing thread's.
    private var dataMonitor: SocketMonitor?
    private var announcedEpoch: UInt64 = 0
    private var leaveDeadline: ContinuousClock.Instant?

    init(_ joiner: Joiner, _ complaints: HandshakeComplaints, memory: UInt64) throws {
        worker = joiner.worker
        self.joiner = joiner
        self.complaints = complaints
        self.memory = memory
        id = WorkerID(of: worker.number)
        supply = worker.supply
        context = try ZMQContext()
        control = try ZMQSocket(.dealer, in: context, linger: 200)
        try control.protect(joiner.address.protection)
        try control.limit(frameBytes: ControlMessage.maximumBytes, queue: 1000)
        try id.withUnsafeBytes(control.setIdentity)
        poller = ZMQPoller([control], wakeup: joiner.wakeup)
        counters = DropCounters(log: worker.log)
    }

    private var address: CoordinatorAddress { joiner.address }

    func run() throws -> Outcome {
        defer {
            if let share {
                joiner.server.remove(share)
                share.stop()
            }
        }
        if let outcome = try connect() { return outcome }
        try send(
            .join(
                JoinRequest(
                    name: worker.name, memoryBudget: memory, threads: worker.threads,
                    digest: supply?.stock.model.digest ?? [], shape: supply?.stock.model.shape,
                    precisions: Precision.allCases)))
        now = clock.look(longest: timing.heartbeatInterval)
        (lastHeard, nextHeartbeat) = (now, .now + timing.heartbeatInterval)
        while true {
            if let outcome = try turn() { return outcome }
        }
    }

    /// Nil when there is a connection.
    private func connect() throws -> Outcome? {
        let monitor = try SocketMonitor(control)
        try control.connect(address.endpoint)
        var news = ZMQPoller([monitor.socket], wakeup: joiner.wakeup)
        while true {
            if try !news.wait(milliseconds: 1000) { complaints.coordinatorIsAbsent() }
            if worker.stopping.isSet { return .stopped }
            // Others wait for this session to let go of what it was promised.
            if worker.memory.hasTooMuch(joiner.index) { return .notAdmitted }
            while let event = try monitor.next() {
                switch event {
                case .connected: return nil
                case .handshakeFailed(.ended): complaints.report(.ended)
                // libzmq does not try again after these. What ends without a failed handshake never began one.
                case .handshakeFailed(let failure):
                    complaints.report(failure)
                    return .notAdmitted
                case .disconnected:
                    complaints.report(.malformed)
                    return .notAdmitted
                }
            }
        }
    }

    private func turn() throws -> Outcome? {
        _ = try poller.wait(milliseconds: max(1, timing.heartbeatInterval.milliseconds / 5))
        now = clock.look(longest: timing.heartbeatInterval)
        for _ in 0..<256 {
            guard try control.receive(incoming) else { break }
            if let outcome = try receive() { return outcome }
            // However much it is told, and however long that takes, it says that it is there.
            if ContinuousClock.now >= nextHeartbeat { break }
        }
        if worker.stopping.isSet || worker.memory.hasTooMuch(joiner.index), let outcome = try leave(at: now) {
            return outcome
        }
        if lastHeard.duration(to: now) >= max(timing.deadAfter, .seconds(1)) {
            let silence =
                "it was silent for \(lastHeard.duration(to: now).milliseconds) ms"
                + (hasHeard ? "" : " from the start; --join must name the port of its --bind")
            return .lost(.silent, silence, wasServing: share != nil)
        }
        if let outcome = try noticeConnection(at: now) { return outcome }
        if try hasLostConnection() {
            return .lost(.disconnected, "the data connection broke", wasServing: announcedEpoch > 0)
        }
        if let share, let outcome = try announce(share) { return outcome }
        if ContinuousClock.now >= nextHeartbeat { nextHeartbeat = .now + (try sendHeartbeat()) }
        return nil
    }

    /// Asks to go, once; done when the coordinator does not let go in time, or never took this worker in.
    private func leave(at now: ContinuousClock.Instant) throws -> Outcome? {
        if share != nil, leaveDeadline == nil {
            leaveDeadline = now + timing.drainLimit
            try send(.leave(reason: worker.stopping.isSet ? "stopped" : Self.tooMuch))
        }
        if let leaveDeadline, now < leaveDeadline { return nil }
        return worker.stopping.isSet ? .stopped : .lost(.tooMuchMemory, Self.tooMuch, wasServing: true)
    }

    private static let tooMuch = "it has to share this worker's memory with others"

    private func announce(_ share: ExpertShare) throws -> Outcome? {
        switch share.progress {
        case .loading: break
        case .loaded(let epoch):
            if epoch > announcedEpoch {
                announcedEpoch = epoch
                if let progress = supply?.progress() { try send(progress) }
                try send(.ready(epoch: epoch))
            }
        case .failed(let reason):
            try send(.leave(reason: reason))
            return .refused(ClusterError("the experts cannot be computed: \(reason)"))
        }
        return nil
    }

    /// In place of a heartbeat, how far the experts are or what was computed, where that is worth telling. Returns for
    /// how long that will do.
    private func sendHeartbeat() throws -> Duration {
        if let share, case .loading = share.progress, let progress = supply?.progress() {
            try send(progress)
            return timing.heartbeatInterval / 5
        }
        let computed = supply?.stock.meter.totals ?? ComputeTotals()
        try send(computed.work > 0 ? .computed(computed) : .heartbeat)
        return timing.heartbeatInterval
    }

    private func send(_ progress: LoadingProgress) throws {
        worker.progress(Int(clamping: progress.loaded), Int(clamping: progress.wanted))
        try send(.loading(progress))
    }

    private func receive() throws -> Outcome? {
        do {
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            hasHeard = true
            let message = try ControlMessage.decode(incoming.bytes, shape: supply?.stock.model.shape, arena: arena)
            lastHeard = now
            switch message {
            case .heartbeat: break
            case .inForce(let epochs): share?.keep(epochs)
            case .assign(let assignment): try take(assignment)
            case .leave(let reason):
                return worker.stopping.isSet
                    ? .stopped : .lost(.sentAway, "it said: \(reason)", wasServing: announcedEpoch > 0)
            case .refuse(let refusal) where refusal.cause == .unknownMember:
                return .lost(.unknownMember, "it said: \(refusal.reason)", wasServing: share != nil)
            case .refuse(let refusal):
                return .refused(
                    ClusterError("the coordinator at \(address.endpoint) refused this worker: \(refusal.reason)"))
            case .model(let description): try introduce(description)
            case .join, .ready, .loading, .computed: throw WireError(.unexpectedMessage)
            }
        } catch let error as WireError {
            counters.count(error.cause, "from the coordinator")
        } catch let error as ClusterError {
            return .lost(.unusable, error.description, wasServing: false)
        }
        try control.discardRest(incoming)
        return nil
    }

    /// The model of which this worker, without a checkpoint, is to have experts.
    private func introduce(_ description: ModelDescription) throws {
        guard supply == nil else { throw WireError(.unexpectedMessage) }
        let announced = try Endpoint(description.weightsEndpoint, beyondThisMachine: true)
        let stock = worker.memory.stock(for: description, of: joiner.index)
        guard let store = stock.store else { return }
        let fetcher = try WeightFetcher(
            store, endpoint: address.endpoint.reaching(announced: announced), protection: address.protection, id: id,
            counters: counters, log: worker.log)
        supply = ExpertSupply(stock, fetcher)
    }

    private func take(_ assignment: Assignment) throws {
        guard let supply else { throw WireError(.unexpectedMessage) }
        guard UInt64(assignment.experts.count * supply.stock.model.bytesPerExpert) <= memory else {
            throw WireError(.outOfBounds)
        }
        timing.heartbeatInterval = assignment.heartbeatInterval
        let share = try self.share ?? begin(supply, assignment)
        guard share.assign(assignment.epoch, assignment.experts, announced: announcedEpoch) else { return }
        worker.log(
            .debug, "assigned experts",
            [
                ("coordinator", address.endpoint.description), ("epoch", String(assignment.epoch)),
                ("experts", String(assignment.experts.count)),
            ])
    }

    /// The coordinator has taken this worker in: connects to its data port.
    private func begin(_ supply: ExpertSupply, _ assignment: Assignment) throws -> ExpertShare {
        let format = ExpertRowFormat(precision: assignment.precision, hiddenSize: supply.stock.model.shape.hiddenSize)
        let announced = try Endpoint(assignment.dataEndpoint, beyondThisMachine: true)
        let connection = try DataConnection(
            address.endpoint.reaching(announced: announced), in: context, address.protection, id: id, format: format)
        let expert = UInt64(supply.stock.model.bytesPerExpert)
        if memory < expert {
            worker.log(
                .warning, "this worker has no memory for any expert",
                [
                    ("memory", "\(memory) bytes"), ("one expert needs", "\(expert) bytes"),
                    ("remedy", "start it with more --memory, such as 8G"),
                ])
        }
        let share = ExpertShare(supply, memory: worker.memory, coordinator: joiner.index, news: joiner.wakeup)
        connecting = connection
        poller = ZMQPoller([control, connection.monitor.socket], wakeup: joiner.wakeup)
        self.share = share
        complaints.joined(as: id)
        worker.accepted(by: joiner.index)
        return share
    }

    /// Once the data port is reached, its socket is the computing thread's.
    private func noticeConnection(at now: ContinuousClock.Instant) throws -> Outcome? {
        guard let connecting, let share else { return nil }
        switch try connecting.monitor.next() {
        case .connected: break
        case nil, .handshakeFailed(.ended):
            connecting.complain(at: now, worker.log)
            return nil
        case .handshakeFailed(let failure):
            let found = failure.advice(toWorkerWith: address.protection.keys).first?.1 ?? "\(failure)"
            let reason = "its data port \(connecting.endpoint) does not let this worker in: \(found)"
            return .lost(.disconnected, reason, wasServing: false)
        case .disconnected: return .lost(.disconnected, "the data connection was not made", wasServing: false)
        }
        self.connecting = nil
        dataMonitor = connecting.monitor
        joiner.server.add(
            ExpertClient(socket: connecting.socket, format: connecting.format, share: share, counters: counters))
        share.connected()
        return nil
    }

    /// libzmq dials again under the same identity, but as long as the coordinator does not know that the old connection is
    /// gone, it takes no notice of the new one. A new session has a new identity.
    private func hasLostConnection() throws -> Bool {
        while let event = try dataMonitor?.next() { if event == .disconnected { return true } }
        return false
    }

    private func send(_ message: ControlMessage) throws {
        // What waits while there is no connection may reach a coordinator that has forgotten this worker, and says so. What
        // cannot even wait is one that the coordinator will miss: silence, which both sides understand.
        _ = try message.encoded().withUnsafeBytes { try control.send($0, more: false) }
    }
}

/// A data socket on its way to the coordinator.
private final class DataConnection {
    let socket: ZMQSocket
    let monitor: SocketMonitor
    let format: ExpertRowFormat
    let endpoint: Endpoint
    private let patienceEnd = ContinuousClock.now + .seconds(5)
    private var hasComplained = false

    init(
        _ endpoint: Endpoint, in context: ZMQContext, _ protection: Protection<WorkerKeys>, id: WorkerID,
        format: ExpertRowFormat
    ) throws {
        self.endpoint = endpoint
        self.format = format
        socket = try ZMQSocket(.dealer, in: context)
        try socket.protect(protection)
        try socket.limit(frameBytes: DataMessage.maximumRequestFrame(format), queue: DataMessage.queue)
        // Of eight of the largest requests, at most three times as long as the least: a coordinator that does not take its
        // answers must not fill the memory.
        try socket.limitSending(queue: 8 * Int32(DataMessage.maximumAssignments / DataMessage.leastPart))
        try id.withUnsafeBytes(socket.setIdentity)
        monitor = try SocketMonitor(socket)
        try socket.connect(endpoint)
    }

    func complain(at now: ContinuousClock.Instant, _ log: Log) {
        guard !hasComplained, now >= patienceEnd else { return }
        hasComplained = true
        log(
            .warning, "the coordinator's data port does not answer; a firewall must let it through",
            [("endpoint", endpoint.description)])
    }
}
