/// The coordinator's control thread: owns the control socket, feeds ``Membership`` and performs what it says.
final class ControlLoop {
    private let socket: ZMQSocket
    private let watch: UnendingMessages, otherWatches: [UnendingMessages]
    private var nextWatch = ContinuousClock.now
    private var poller: ZMQPoller
    private let board: PlacementBoard
    private let bulletin: Bulletin
    private let counters: DropCounters
    private let log: Log
    private let arena = WireArena(capacity: 4 * ControlMessage.maximumBytes)
    private let incoming = ZMQMessage()
    private var membership: Membership
    private var clock = AttentiveClock()
    /// By which silence is judged: of each turn, for what it takes long over delays the words of others too.
    private var now = ContinuousClock.now
    private var links: [WorkerID: WorkerLink] = [:]
    private let keys: CoordinatorKeys?
    private let admitted: AdmittedKeys?
    private var gate: KeyGate<WorkerID>
    /// Whose the members' identities are; empty without keys.
    private var owners: [WorkerID: PublicKey] = [:]
    /// For which all members' keys are authorised.
    private var seenChanges = 0
    private var reportedFailures: Set<HandshakeFailure> = []
    /// Until then connections are probed, for one was closed a moment ago.
    private var probingEnd = ContinuousClock.now

    /// - Parameters:
    ///   - watch: of `socket`.
    ///   - others: of the coordinator's other sockets.
    init(
        socket: ZMQSocket, watch: UnendingMessages, others: [UnendingMessages], wakeup: Wakeup, membership: Membership,
        board: PlacementBoard, bulletin: Bulletin,
        counters: DropCounters, keys: CoordinatorKeys?, admitted: AdmittedKeys?, log: Log
    ) {
        self.socket = socket
        self.keys = keys
        self.admitted = admitted
        gate = KeyGate(admitted)
        (self.watch, otherWatches) = (watch, others)
        poller = ZMQPoller([socket, watch.monitor.socket], wakeup: wakeup)
        self.membership = membership
        self.board = board
        self.bulletin = bulletin
        self.counters = counters
        self.log = log
    }

    /// Runs until `isStopping`, then sends every worker away.
    func run(until isStopping: () -> Bool) {
        do {
            while !isStopping() { try turn() }
            try sendEveryoneAway()
        } catch {
            log(.error, "the control socket failed; no worker is used any more", [("error", "\(error)")])
        }
        for link in links.values { link.availability = .gone }
        bulletin.update(membership, links: links, at: now, hasEnded: true)
    }

    /// Says that this is the end, and waits a moment for the workers to go: what libzmq has just been given to send may
    /// be lost when its socket is closed at once, whatever ZMQ_LINGER says.
    private func sendEveryoneAway() throws {
        var left = membership.members.count
        for id in membership.members.keys { _ = try send(.leave(reason: "the coordinator shuts down"), to: id) }
        var departures = ZMQPoller([watch.monitor.socket])
        let end = ContinuousClock.now + .milliseconds(300)
        while left > 0, ContinuousClock.now < end {
            _ = try departures.wait(milliseconds: 20)
            while let event = try watch.monitor.next() { if event == .disconnected { left -= 1 } }
        }
    }

    private func turn() throws {
        let isProbing = ContinuousClock.now < probingEnd
        _ = try poller.wait(
            milliseconds: isProbing ? 2 : max(1, membership.timing.heartbeatInterval.milliseconds / 5))
        now = clock.look(longest: membership.timing.heartbeatInterval)
        while let event = try watch.monitor.next() {
            switch event {
            case .connected: break
            case .disconnected: probingEnd = .now + .milliseconds(50)
            case .handshakeFailed(let failure): report(failure)
            }
        }
        try cutUnending()
        try sendRevokedAway()
        try sendAccusedAway()
        // Whose connection it was, only a message to everyone can tell; and the monitor knows it before the socket does.
        if ContinuousClock.now < probingEnd {
            socket.refresh()
            try perform(membership.heartbeats())
        }
        // Not without end, so that a flood of messages does not stop the clock.
        let end = ContinuousClock.now + membership.timing.heartbeatInterval
        for _ in 0..<256 {
            guard ContinuousClock.now < end, try socket.receive(incoming) else { break }
            try receive()
        }
        let isSettled = board.isSettled(at: .now, idle: membership.timing.idleAfter)
        try perform(membership.tick(at: now, isSettled: isSettled) { board.rows })
        bulletin.update(membership, links: links, owners: owners, at: now, hasEnded: false)
    }

    private func receive() throws {
        let id = WorkerID(incoming.bytes)
        do {
            guard let id else { throw WireError(.unknownSender) }
            guard try socket.receiveMore(incoming), !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            let key = try gate.check(incoming, from: id, owner: owners[id], on: socket)
            let message = try ControlMessage.decode(incoming.bytes, shape: membership.model.shape, arena: arena)
            let effects = membership.receive(message, from: id, key: key, at: now)
            if membership.members[id] != nil { owners[id] = key }
            // Whoever is told of the weights may ask for them at once.
            if case .join = message {
                bulletin.update(membership, links: links, owners: owners, at: now, hasEnded: false)
            }
            try perform(effects)
        } catch let error as WireError {
            counters.count(error.cause, "from \(id?.description ?? "nobody")")
            if error.cause == .wrongProtocolVersion, let id { try refuseVersion(of: id) }
        }
        try socket.discardRest(incoming)
    }

    /// Of all sockets, for their own threads may be waiting for something else.
    private func cutUnending() throws {
        guard ContinuousClock.now >= nextWatch else { return }
        defer { nextWatch = .now + .milliseconds(250) }
        for other in otherWatches { while try other.monitor.next() != nil {} }
        for each in [watch] + otherWatches {
            for _ in 0..<each.cut() { counters.count(.unendingMessage, "its connection was cut") }
        }
    }

    /// A key can be revoked while its owner takes part.
    private func sendRevokedAway() throws {
        guard let admitted, admitted.changes != seenChanges else { return }
        seenChanges = admitted.changes
        for (id, key) in owners where !admitted.contains(key) {
            let reason = "its key is not authorised any more"
            try perform(membership.expel(id, reason: reason, isBanished: false, at: now))
        }
    }

    /// The engine's thread may have found that a worker's results are wrong.
    private func sendAccusedAway() throws {
        for (id, link) in links {
            guard let accusation = link.accusation else { continue }
            try perform(membership.expel(id, reason: accusation, at: now))
        }
    }

    private func report(_ failure: HandshakeFailure) {
        counters.count(.failedHandshake)
        // The authenticator tells more of a key that is not authorised.
        guard failure != .notAuthorized, reportedFailures.insert(failure).inserted else { return }
        log(
            failure == .ended ? .info : .warning, "a connection was refused; more of this kind are only counted",
            failure.advice(toCoordinatorWith: keys))
    }

    private func refuseVersion(of id: WorkerID) throws {
        let reason =
            "it speaks another protocol version; this coordinator speaks \(protocolVersion): use the same release"
        log(.error, "refused a worker", [("worker", id.description), ("reason", reason)])
        _ = try send(.refuse(Refusal(cause: .protocolVersion, reason: reason)), to: id)
    }

    private func perform(_ effects: [Membership.Effect]) throws {
        var queue = effects[...]
        while let effect = queue.popFirst() {
            switch effect {
            case .send(let message, let id):
                // What follows from it comes last, or an older plan would be told, or put into force, after a newer one.
                if try send(message, to: id) == .unreachable { queue += membership.unreachable(id, at: now) }
            case .publish(let placement):
                board.publish(Routes(placement, links: placement.workers.map(link)))
            case .suspend(let id): links[id]?.availability = .suspect
            case .resume(let id): links[id]?.availability = .available
            case .forget(let id):
                links.removeValue(forKey: id)?.availability = .gone
                owners[id] = nil
            case .log(let level, let message, let fields): log(level, message, fields)
            case .drop(let cause, let id): counters.count(cause, "from \(id)")
            }
        }
    }

    private func link(_ id: WorkerID) -> WorkerLink {
        if let link = links[id] { return link }
        let link = WorkerLink(id: id, key: owners[id])
        // It may have fallen silent while the others were still loading.
        if membership.members[id]?.liveness.state == .suspect { link.availability = .suspect }
        links[id] = link
        return link
    }

    private func send(_ message: ControlMessage, to id: WorkerID) throws -> ZMQSocket.SendResult {
        let result = try id.withUnsafeBytes { try socket.send($0, more: true) }
        guard result == .sent else { return result }
        return try message.encoded().withUnsafeBytes { try socket.send($0, more: false) }
    }
}
