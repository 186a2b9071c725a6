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

        fileprivate var hasServed: Bool { loadedEpoch > 0 }
        fileprivate var isStaying: Bool { liveness.state != .draining }
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
    /// How many workers are to hold each expert, as far as their memory goes.
    package let copies: Int
    package private(set) var members: [WorkerID: Member] = [:]
    /// In force from the next step on.
    package private(set) var placement: Placement
    /// Replaces `placement` as soon as its workers have loaded what it gives them.
    package private(set) var pending: Placement?
    private var epoch: UInt64 = 0
    private var nextHeartbeat: ContinuousClock.Instant?

    package init(
        model: ModelIdentity, description: ModelDescription? = nil, precision: Precision, timing: ClusterTiming,
        dataEndpoint: String, copies: Int = 1
    ) {
        self.model = model
        self.description = description
        self.precision = precision
        self.timing = timing
        self.dataEndpoint = dataEndpoint
        self.copies = copies
        placement = Placement(epoch: 0, shape: model.shape)
    }

    /// A message arrived.
    package mutating func receive(
        _ message: ControlMessage, from id: WorkerID, at now: ContinuousClock.Instant
    ) -> [Effect] {
        if case .join(let join) = message, members[id] == nil { return admit(join, id, at: now) }
        guard members[id] != nil else {
            let refusal = Refusal(cause: .unknownMember, reason: "this worker is not a member; join again")
            return [.drop(.unknownSender, from: id), .send(.refuse(refusal), to: id)]
        }
        var effects = apply(.heard, to: id, at: now)
        switch message {
        case .heartbeat: break
        case .loading(let progress): members[id]?.loading = progress
        case .ready(let readyEpoch): effects += loaded(readyEpoch, id, at: now)
        case .leave(let reason):
            effects.append(.log(.info, "worker leaves", fields(id) + [("reason", reason)]))
            effects += apply(.leave, to: id, at: now)
        case .join, .assign, .refuse, .model: effects.append(.drop(.unexpectedMessage, from: id))
        }
        return effects
    }

    /// A message could not be sent because the worker's connection is closed.
    package mutating func unreachable(_ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        apply(.unreachable, to: id, at: now)
    }

    /// A worker may not take part any more: it is told, and nothing is waited for.
    /// - Parameter mayReturn: whether it should try to join again, and not end.
    package mutating func expel(
        _ id: WorkerID, reason: String, mayReturn: Bool = true, at now: ContinuousClock.Instant
    ) -> [Effect] {
        guard members[id] != nil else { return [] }
        return [
            .send(mayReturn ? .leave(reason: reason) : .refuse(Refusal(cause: .unspecified, reason: reason)), to: id),
            .log(mayReturn ? .warning : .error, "worker was sent away", fields(id) + [("reason", reason)]),
        ] + remove(id, at: now)
    }

    /// Time passed. `isSettled` says whether the engine has taken up the published placement, or computes nothing.
    package mutating func tick(at now: ContinuousClock.Instant, isSettled: Bool) -> [Effect] {
        var effects: [Effect] = []
        for id in members.keys.sorted() {
            effects += apply(.tick, to: id, at: now)
            if isSettled, !placement.workers.contains(id) {
                effects += apply(.released, to: id, at: now)
            }
        }
        if nextHeartbeat.map({ now >= $0 }) ?? true {
            nextHeartbeat = now + timing.heartbeatInterval
            effects += heartbeats()
        }
        return effects
    }

    /// A heartbeat for everyone; sending it also finds out whose connection is closed.
    package func heartbeats() -> [Effect] { members.keys.sorted().map { .send(.heartbeat, to: $0) } }

    /// Whether every expert has an owner that can be relied upon, or `localExperts` stands in for it.
    package func isServing(localExperts: Bool) -> Bool {
        localExperts
            || placement.holders.allSatisfy {
                $0.contains { holder in
                    let state = members[placement.workers[holder]]?.liveness.state
                    return state == .ready || state == .draining
                }
            }
    }

    private mutating func admit(_ join: JoinRequest, _ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        if let refusal = refusal(of: join) {
            let fields: Log.Fields = [("worker", id.description), ("name", join.name), ("reason", refusal.reason)]
            return [.send(.refuse(refusal), to: id), .log(.error, "refused a worker", fields)]
        }
        members[id] = Member(join: join, liveness: Liveness(timing: timing, at: now))
        // While those that serve take over from one that went, newcomers wait for their turn.
        let isWhole = placement.workers.allSatisfy { members[$0]?.isStaying == true }
        let introduction = description.map { [Effect.send(.model($0), to: id)] } ?? []
        return [.log(.info, "worker joined", fields(id))] + (join.digest.isEmpty ? introduction : [])
            + (isWhole ? replan(newcomers: true, at: now) : [])
    }

    private func refusal(of join: JoinRequest) -> Refusal? {
        let wantsWeights = join.digest.isEmpty && description != nil
        if let shape = join.shape, shape != model.shape {
            return Refusal(cause: .shape, reason: "its model has \(shape); this coordinator's has \(model.shape)")
        }
        if join.digest != model.digest, !wantsWeights {
            return Refusal(
                cause: .digest,
                reason: "its checkpoint has digest \(hex(join.digest)); this coordinator's has \(hex(model.digest)): "
                    + "start it with the same model folder")
        }
        if members.count >= Self.maximumMembers {
            return Refusal(
                cause: .unspecified,
                reason: "\(members.count) workers have joined, as many as a coordinator takes; end another one first")
        }
        if !join.precisions.contains(precision) {
            return Refusal(
                cause: .precision,
                reason: "it computes in \(join.precisions.map(\.rawValue)); this coordinator in \(precision.rawValue)")
        }
        return nil
    }

    private mutating func loaded(_ readyEpoch: UInt64, _ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        // One that was overtaken by a newer plan is no mistake of the worker's.
        guard readyEpoch <= epoch else { return [.drop(.staleEpoch, from: id)] }
        guard readyEpoch == pending?.epoch else { return [] }
        members[id]?.loadedEpoch = readyEpoch
        let effects = apply(.loaded, to: id, at: now)
        return effects + [.log(.debug, "worker is ready", fields(id))] + publishIfLoaded(at: now)
    }

    private mutating func publishIfLoaded(at now: ContinuousClock.Instant) -> [Effect] {
        guard let pending, pending.workers.allSatisfy({ members[$0]?.loadedEpoch == pending.epoch }) else { return [] }
        placement = pending
        self.pending = nil
        // Those who were loading when it was planned.
        let hasNewcomers = members.contains { $1.isStaying && !placement.workers.contains($0) }
        return [
            .publish(placement),
            .log(
                .info, "new placement",
                [
                    ("epoch", String(placement.epoch)), ("workers", String(placement.workers.count)),
                    ("experts", String(placement.holders.count - placement.unowned)),
                    ("replicas", String(placement.counts.reduce(0, +) - placement.holders.count + placement.unowned)),
                    ("local", String(placement.unowned)),
                ]),
        ] + (hasNewcomers ? replan(newcomers: true, at: now) : addReplicas(at: now))
    }

    /// Once every expert has its owner, there is time to load replicas.
    private mutating func addReplicas(at now: ContinuousClock.Instant) -> [Effect] {
        let replicated = placement.replicated(epoch: epoch + 1, copies: copies)
        guard replicated.holders != placement.holders, placement.workers.allSatisfy({ members[$0]?.isStaying == true })
        else { return [] }
        return plan(replicated, at: now)
    }

    /// Shares the experts out anew among those that stay. When an owner goes, those that serve take its
    /// part at once; a newcomer, who may have to load for minutes, gets its own afterwards.
    private mutating func replan(newcomers: Bool, at now: ContinuousClock.Instant) -> [Effect] {
        let staying = members.filter { $1.isStaying && (newcomers || $1.hasServed) }
        let candidates = staying.map { id, member in
            Placement.Candidate(
                id: id, capacity: Int(clamping: member.join.memoryBudget / UInt64(model.bytesPerExpert)),
                weight: member.join.threads)
        }
        return plan(
            Placement(
                epoch: epoch + 1, shape: model.shape, candidates: candidates, previous: pending ?? placement,
                loaded: placement, copies: copies), at: now)
    }

    /// Tells the workers of a placement what it gives them.
    private mutating func plan(_ plan: Placement, at now: ContinuousClock.Instant) -> [Effect] {
        epoch = plan.epoch
        pending = plan
        var effects: [Effect] = []
        for id in plan.workers {
            let assignment = Assignment(
                epoch: epoch, precision: precision, experts: plan.experts(of: id), dataEndpoint: dataEndpoint,
                heartbeatInterval: timing.heartbeatInterval)
            effects.append(.send(.assign(assignment), to: id))
            effects += apply(.assigned, to: id, at: now)
        }
        return effects + publishIfLoaded(at: now)
    }

    private mutating func apply(
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
            case .release:
                effects += [.send(.leave(reason: "released"), to: id), .log(.info, "worker left", fields(id))]
                effects += remove(id, at: now)
            case .remove(let reason):
                effects.append(.log(.warning, "worker is gone", fields(id) + [("reason", reason)]))
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

    private func fields(_ id: WorkerID) -> Log.Fields {
        [("worker", id.description), ("name", members[id]?.join.name ?? "")]
    }
}

private func hex(_ digest: [UInt8]) -> String {
    digest.isEmpty ? "none" : digest.prefix(8).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}
