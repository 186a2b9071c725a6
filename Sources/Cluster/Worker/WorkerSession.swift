import Transformer

/// One membership of a worker, from joining to being lost: the control socket and its conversation. The thread that
/// runs it does nothing else, so that a long batch never delays a heartbeat.
final class WorkerSession {
    enum Outcome {
        case stopped
        case refused(String)
        case lost(String, wasServing: Bool)
        /// The connection did not come about; why has been said.
        case notAdmitted
    }

    private let worker: Worker
    private let complaints: HandshakeComplaints
    private let id = WorkerID()
    private let context: ZMQContext
    private let control: ZMQSocket
    private var poller: ZMQPoller
    private let counters: DropCounters
    private let arena = WireArena(capacity: 4 * ControlMessage.maximumBytes)
    private let incoming = ZMQMessage()
    /// The worker's own, or the one that the coordinator's model calls for.
    private var supply: ExpertSupply?

    private var timing = ClusterTiming()
    private var lastHeard = ContinuousClock.now
    private var nextHeartbeat = ContinuousClock.now
    private var server: ExpertServer?
    private var announcedEpoch: UInt64 = 0
    private var leaveDeadline: ContinuousClock.Instant?

    init(_ worker: Worker, _ complaints: HandshakeComplaints) throws {
        self.worker = worker
        self.complaints = complaints
        supply = worker.supply
        context = try ZMQContext()
        control = try ZMQSocket(.dealer, in: context, linger: 200)
        try control.protect(worker.protection)
        try control.limit(frameBytes: ControlMessage.maximumBytes, queue: 1000)
        try control.setIdentity(id)
        poller = ZMQPoller([control], wakeup: worker.wakeup)
        counters = DropCounters(log: worker.log)
    }

    func run() throws -> Outcome {
        defer { server?.stop() }
        if let outcome = try connect() { return outcome }
        try send(
            .join(
                JoinRequest(
                    name: worker.name, memoryBudget: worker.memoryBudget, threads: worker.threads,
                    digest: supply?.model.digest ?? [], shape: supply?.model.shape, precisions: Precision.allCases)))
        lastHeard = .now
        nextHeartbeat = .now + timing.heartbeatInterval
        while true {
            if let outcome = try turn() { return outcome }
        }
    }

    /// Nil when there is a connection.
    private func connect() throws -> Outcome? {
        let monitor = try SocketMonitor(control)
        try control.connect(worker.join)
        var connecting = ZMQPoller(writable: control, monitor: monitor, wakeup: worker.wakeup)
        if try !connecting.wait(milliseconds: 1000) { complaints.coordinatorIsAbsent() }
        while !connecting.isReady(0) {
            if worker.stopping.isSet { return .stopped }
            while case .handshakeFailed(let failure)? = try monitor.next() {
                complaints.report(failure)
                // libzmq tries again by itself, except after these.
                if failure != .ended { return .notAdmitted }
            }
            _ = try connecting.wait(milliseconds: 60_000)
        }
        return worker.stopping.isSet ? .stopped : nil
    }

    private func turn() throws -> Outcome? {
        _ = try poller.wait(milliseconds: max(1, timing.heartbeatInterval.milliseconds / 5))
        for _ in 0..<256 {
            guard try control.receive(incoming) else { break }
            if let outcome = try receive() { return outcome }
        }
        let now = ContinuousClock.now
        if worker.stopping.isSet, let outcome = try leave(at: now) { return outcome }
        if lastHeard.duration(to: now) >= max(timing.deadAfter, .seconds(1)) {
            return .lost("it was silent for \(lastHeard.duration(to: now).milliseconds) ms", wasServing: server != nil)
        }
        if let server { try announce(server) }
        if now >= nextHeartbeat {
            nextHeartbeat = now + (try sendHeartbeat())
        }
        return nil
    }

    /// Asks to go, once; done when the coordinator does not let go in time, or never took this worker in.
    private func leave(at now: ContinuousClock.Instant) throws -> Outcome? {
        guard server != nil else { return .stopped }
        if let leaveDeadline { return now >= leaveDeadline ? .stopped : nil }
        leaveDeadline = now + timing.drainLimit
        try send(.leave(reason: "stopped"))
        return nil
    }

    private func announce(_ server: ExpertServer) throws {
        switch server.progress {
        case .loading: break
        case .loaded(let epoch):
            if epoch > announcedEpoch {
                announcedEpoch = epoch
                if let progress = supply?.progress() { try send(progress) }
                try send(.ready(epoch: epoch))
            }
        case .failed(let reason):
            try send(.leave(reason: reason))
            throw ClusterError("the experts cannot be computed: \(reason)")
        }
    }

    /// In place of a heartbeat, how far the experts are, where that is worth telling. Returns for how long that will do.
    private func sendHeartbeat() throws -> Duration {
        if let server, case .loading = server.progress, let progress = supply?.progress() {
            try send(progress)
            return timing.heartbeatInterval / 5
        }
        try send(.heartbeat)
        return timing.heartbeatInterval
    }

    private func send(_ progress: LoadingProgress) throws {
        worker.progress(Int(clamping: progress.loaded), Int(clamping: progress.wanted))
        try send(.loading(progress))
    }

    private func receive() throws -> Outcome? {
        do {
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            let message = try ControlMessage.decode(incoming.bytes, shape: supply?.model.shape, arena: arena)
            lastHeard = .now
            switch message {
            case .heartbeat: break
            case .assign(let assignment): try take(assignment)
            case .leave(let reason):
                return worker.stopping.isSet ? .stopped : .lost("it said: \(reason)", wasServing: true)
            case .refuse(let refusal) where refusal.cause == .unknownMember:
                return .lost("it said: \(refusal.reason)", wasServing: server != nil)
            case .refuse(let refusal): return .refused(refusal.reason)
            case .model(let description): try introduce(description)
            case .join, .ready, .loading: throw WireError(.unexpectedMessage)
            }
        } catch let error as WireError {
            counters.count(error.cause, "from the coordinator")
        } catch let error as ClusterError {
            return .lost(error.description, wasServing: false)
        }
        try control.discardRest(incoming)
        return nil
    }

    /// The model of which this worker, without a checkpoint, is to have experts.
    private func introduce(_ description: ModelDescription) throws {
        guard supply == nil else { throw WireError(.unexpectedMessage) }
        let announced = try Endpoint(description.weightsEndpoint, beyondThisMachine: true)
        let endpoint = try worker.join.reaching(announced: announced)
        let store = worker.store(for: description)
        let fetcher = try WeightFetcher(
            store, endpoint: endpoint, protection: worker.protection, id: id, counters: counters, log: worker.log)
        supply = ExpertSupply(store, fetcher, threads: worker.threads)
    }

    private func take(_ assignment: Assignment) throws {
        guard let supply else { throw WireError(.unexpectedMessage) }
        guard UInt64(assignment.experts.count * supply.model.bytesPerExpert) <= worker.memoryBudget else {
            throw WireError(.outOfBounds)
        }
        timing.heartbeatInterval = assignment.heartbeatInterval
        if server == nil {
            let announced = try Endpoint(assignment.dataEndpoint, beyondThisMachine: true)
            let endpoint = try worker.join.reaching(announced: announced)
            let data = try ZMQSocket(.dealer, in: context)
            try data.protect(worker.protection)
            let format = ExpertRowFormat(precision: assignment.precision, hiddenSize: supply.model.shape.hiddenSize)
            try data.limit(frameBytes: DataMessage.maximumFrameBytes(format), queue: 8)
            try data.setIdentity(id)
            try data.connect(endpoint)
            server = try ExpertServer(
                supply, news: worker.wakeup, socket: data, endpoint: endpoint, format: format, counters: counters,
                log: worker.log)
            complaints.joined()
            worker.log(.info, "joined", [("coordinator", worker.join.description), ("worker", id.description)])
        }
        server?.assign(assignment.epoch, assignment.experts)
        worker.log(
            .debug, "assigned experts",
            [
                ("epoch", String(assignment.epoch)), ("experts", String(assignment.experts.count)),
            ])
    }

    private func send(_ message: ControlMessage) throws {
        // A message that cannot be sent is one that the coordinator will miss: silence, which both sides understand.
        _ = try message.encoded().withUnsafeBytes { try control.send($0, more: false) }
    }
}
