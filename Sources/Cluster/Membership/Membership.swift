package import Transformer

/// Who is in the cluster and who owns what: a pure value, without sockets or clocks. The control thread feeds it
/// messages and ticks, and performs the effects.
package struct Membership {
    package enum Effect: Sendable {
        case send(ControlMessage, to: WorkerID)
        /// From the next step on this placement holds.
        case publish(Placement)
        /// The rows of this worker are not to be waited for.
        case suspend(WorkerID)
        case resume(WorkerID)
        case forget(WorkerID)
        case log(Log.Level, String, Log.Fields)
        case drop(DropCause, from: WorkerID)
    }

    package struct Member: Sendable {
        package var join: JoinRequest
        package var liveness: Liveness
        /// The newest epoch for which it has everything in memory.
        package var loadedEpoch: UInt64 = 0
        /// How far it was with loading when it last said so.
        package var loading: LoadingProgress?
        package var speedometer = Speedometer()
        /// Why it is left out, while it is.
        package internal(set) var hold: Hold?

        /// To whom a new session of it belongs: a public key, or a place on a host (``Places``).
        let owner: String
        let joined: ContinuousClock.Instant
        /// When it had first loaded what it was given.
        var servingSince: ContinuousClock.Instant?
        /// For it to come further with loading what the pending placement gives it.
        var waiting = WaitingTime()
        /// The most bytes that it has said to have in memory since it last had everything.
        var furthest: UInt64 = 0
        /// How often it did not come to an end with loading.
        var stalls = 0

        var hasServed: Bool { loadedEpoch > 0 }
        var isStaying: Bool { liveness.state != .draining && liveness.state != .held }
    }

    /// Why a member is left out for a while.
    package enum Hold: String, Sendable {
        /// It died soon after it was taken in, again and again.
        case flapping
        /// It does not come to an end with loading.
        case stalled
        /// It was sent away a while ago.
        case banished
    }

    /// Further workers are refused: the cost of sharing the experts out grows with them, and a flood of joins must not
    /// stop the control thread.
    package static let maximumMembers = 256

    package let model: ModelIdentity
    /// For workers without a checkpoint; nil where they get no weights.
    package let description: ModelDescription?
    package let precision: Precision
    package let timing: ClusterTiming
    package let dataEndpoint: String
    /// How many workers are to hold each expert, as far as their memory goes; nil where its load decides.
    package let copies: Int?
    /// Whether the coordinator computes what no worker does.
    package let localExperts: Bool
    package internal(set) var members: [WorkerID: Member] = [:]
    package internal(set) var holdOffs = HoldOffs()
    var places = Places()
    /// In force from the next step on.
    package internal(set) var placement: Placement
    /// Replaces `placement` as soon as its workers have loaded what it gives them.
    package internal(set) var pending: Placement?
    /// By which the experts are shared out: threads, until something is worth the difference between them and speeds.
    package internal(set) var weights: [WorkerID: Int] = [:]
    package private(set) var history: LoadHistory
    package internal(set) var epoch: UInt64 = 0
    /// The engine asks for nothing of earlier epochs any more.
    private var settledEpoch: UInt64 = 0
    /// Whether replicas are to be loaded when the pending placement holds.
    var replicasFollow = false
    /// Whether another placement would have been worth it when that was last computed.
    var gains = false
    private var nextHeartbeat: ContinuousClock.Instant?
    private var nextObservation: ContinuousClock.Instant?
    private var observations = 0

    package init(
        model: ModelIdentity, description: ModelDescription? = nil, precision: Precision, timing: ClusterTiming,
        dataEndpoint: String, copies: Int? = 1, localExperts: Bool = true
    ) {
        self.model = model
        self.description = description
        self.precision = precision
        self.timing = timing
        self.dataEndpoint = dataEndpoint
        self.copies = copies
        self.localExperts = localExperts
        history = LoadHistory(shape: model.shape)
        placement = Placement(epoch: 0, shape: model.shape)
    }

    /// A message arrived, from whom `key` belongs to; there is none without keys.
    package mutating func receive(
        _ message: ControlMessage, from id: WorkerID, key: PublicKey? = nil, at now: ContinuousClock.Instant
    ) -> [Effect] {
        if case .join(let join) = message, members[id] == nil { return takeIn(join, id, key, at: now) }
        guard members[id] != nil else {
            let refusal = Refusal(cause: .unknownMember, reason: "this worker is not a member; join again")
            return [.drop(.unknownSender, from: id), .send(.refuse(refusal), to: id)]
        }
        var effects = apply(.heard, to: id, at: now)
        switch message {
        case .heartbeat: break
        case .loading(let progress): advance(id, to: progress, at: now)
        case .computed(let totals): members[id]?.speedometer.read(totals)
        case .ready(let readyEpoch): effects += loaded(readyEpoch, id, at: now)
        case .leave(let reason):
            effects.append(.log(.info, "worker leaves", fields(id) + [("reason", reason)]))
            effects += apply(.leave, to: id, at: now)
        case .join, .assign, .refuse, .model, .inForce: effects.append(.drop(.unexpectedMessage, from: id))
        }
        return effects
    }

    /// A message could not be sent because the worker's connection is closed.
    package mutating func unreachable(_ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        apply(.unreachable, to: id, at: now)
    }

    /// A worker may not take part any more: it is told, and nothing is waited for.
    /// - Parameter isBanished: whether it is to end, and is not taken in again for long. False where whoever decides that says
    ///   so each time anew.
    package mutating func expel(
        _ id: WorkerID, reason: String, isBanished: Bool = true, at now: ContinuousClock.Instant
    ) -> [Effect] {
        guard let member = members[id] else { return [] }
        if isBanished { holdOffs.banish(member.owner, for: timing.banishment, at: now) }
        return [
            .send(isBanished ? .refuse(Refusal(cause: .unspecified, reason: reason)) : .leave(reason: reason), to: id),
            .log(isBanished ? .error : .warning, "worker was sent away", fields(id) + [("reason", reason)]),
        ] + remove(id, at: now)
    }

    /// Time passed.
    /// - Parameters:
    ///   - isSettled: whether the engine has taken up the published placement, or computes nothing.
    ///   - rows: how many each expert has had since the start, [layers][experts].
    package mutating func tick(
        at now: ContinuousClock.Instant, isSettled: Bool, rows: () -> [UInt64] = { [] }
    ) -> [Effect] {
        if isSettled { settledEpoch = placement.epoch }
        var effects = releaseNeeded(at: now)
        for id in members.keys.sorted() {
            effects += apply(.tick, to: id, at: now)
            if isSettled, !placement.workers.contains(id) {
                effects += apply(.released, to: id, at: now)
            }
        }
        effects += leaveOutStalled(at: now)
        if nextObservation.map({ now >= $0 }) ?? true {
            // Each comparison of placements rests upon several observations.
            nextObservation = now + timing.rebalanceInterval / 6
            observations += 1
            history.observe(rows())
            if observations % 6 == 0 { effects += rebalance(at: now) }
        }
        if nextHeartbeat.map({ now >= $0 }) ?? true {
            nextHeartbeat = now + timing.heartbeatInterval
            effects += heartbeats()
        }
        return effects
    }

    /// A heartbeat for everyone; sending it also finds out whose connection is closed.
    package func heartbeats() -> [Effect] {
        members.keys.sorted().map { .send(.inForce(settledEpoch...placement.epoch), to: $0) }
    }

    /// Whether every expert has an owner that can be relied upon, or `localExperts` stands in for it.
    package func isServing(localExperts: Bool) -> Bool {
        localExperts
            || placement.holders.allSatisfy {
                $0.contains { holder in
                    let state = members[placement.workers[holder]]?.liveness.state
                    return state == .ready || state == .draining || state == .held
                }
            }
    }

    mutating func apply(
        _ event: Liveness.Event, to id: WorkerID, at now: ContinuousClock.Instant
    ) -> [Effect] {
        guard let actions = members[id]?.liveness.on(event, at: now) else { return [] }
        var effects: [Effect] = []
        for action in actions {
            switch action {
            case .suspend:
                effects += [
                    .suspend(id), .log(.warning, "worker is silent; its rows are computed elsewhere", fields(id)),
                ]
            case .resume: effects += [.resume(id), .log(.info, "worker is back", fields(id))]
            case .replan: effects += replan(newcomers: false, at: now)
            case .admit: effects += admit(id, at: now)
            case .release:
                effects += [.send(.leave(reason: "released"), to: id), .log(.info, "worker left", fields(id))]
                effects += remove(id, at: now)
            case .remove(let reason):
                effects.append(.log(.warning, "worker is gone", fields(id) + [("reason", reason)]))
                countDeath(of: id, at: now)
                effects += remove(id, at: now)
            }
        }
        return effects
    }

    private mutating func remove(_ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        members[id] = nil
        let isOwner = (pending ?? placement).workers.contains(id)
        return [.forget(id)] + (isOwner ? replan(newcomers: false, at: now) : [])
    }

    func fields(_ id: WorkerID) -> Log.Fields {
        [("worker", id.description), ("name", members[id]?.join.name ?? "")]
    }
}
