/// How placements come about: planned, loaded by their workers, and then in force.
extension Membership {
    mutating func loaded(_ readyEpoch: UInt64, _ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        // One that was overtaken by a newer plan is no mistake of the worker's.
        guard readyEpoch <= epoch else { return [.drop(.staleEpoch, from: id)] }
        members[id]?.waiting.restart(at: now)
        members[id]?.furthest = 0
        guard let pending, readyEpoch == pending.epoch, pending.workers.contains(id) else { return [] }
        members[id]?.loadedEpoch = readyEpoch
        members[id]?.waiting = WaitingTime()
        members[id]?.stalls = 0
        if members[id]?.servingSince == nil { members[id]?.servingSince = now }
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
                    (localExperts ? "local" : "unowned", String(placement.unowned)),
                ]),
        ] + (hasNewcomers ? replan(newcomers: true, at: now) : addReplicas(at: now))
    }

    /// Once every expert has its owner, there is time to load replicas.
    private mutating func addReplicas(at now: ContinuousClock.Instant) -> [Effect] {
        guard replicasFollow else { return [] }
        replicasFollow = false
        let replicated = placement.replicated(epoch: epoch + 1, copies: copies, loads: history.loads)
        guard replicated.holders != placement.holders, placement.workers.allSatisfy({ members[$0]?.isStaying == true })
        else { return [] }
        return plan(replicated, at: now)
    }

    /// Shares the experts out anew among those that stay. When an owner goes, those that serve take its
    /// part at once; a newcomer, who may have to load for minutes, gets its own afterwards.
    mutating func replan(newcomers: Bool, at now: ContinuousClock.Instant) -> [Effect] {
        replicasFollow = true
        weights = filled(weights)
        let staying = members.filter { $1.isStaying && (newcomers || $1.hasServed) }
        let candidates = staying.map { id, member in
            Placement.Candidate(
                id: id, capacity: Int(clamping: member.join.memoryBudget / UInt64(model.bytesPerExpert)),
                weight: weights[id] ?? member.join.threads)
        }
        return plan(
            Placement(
                epoch: epoch + 1, shape: model.shape, candidates: candidates, previous: pending ?? placement,
                loaded: placement, copies: copies, loads: history.loads), at: now)
    }

    /// Shares the experts out anew where speeds and loads make that worth it, twice in a row so that chance does not
    /// decide, and nothing else is going on.
    mutating func rebalance(at now: ContinuousClock.Instant) -> [Effect] {
        let hasGained = gains
        gains = false
        guard pending == nil, !placement.workers.isEmpty,
            placement.workers.allSatisfy({ members[$0]?.liveness.state == .ready })
        else { return [] }
        let speeds = members.compactMapValues(\.speedometer.speed)
        let measured = filled(speeds.isEmpty ? weights : speeds)
        let candidates = placement.candidates.map {
            Placement.Candidate(id: $0.id, capacity: $0.capacity, weight: measured[$0.id] ?? $0.weight)
        }
        let loads = history.loads
        guard
            let plan = placement.rebalanced(epoch: epoch + 1, candidates: candidates, copies: copies, loads: loads)
        else { return [] }
        gains = !hasGained
        guard hasGained else { return [] }
        weights = measured
        replicasFollow = false
        let after = plan.time(speeds: candidates.map(\.weight), loads: loads)
        let before = placement.time(speeds: candidates.map(\.weight), loads: loads)
        return [
            .log(
                .info, "the experts are shared out anew",
                [
                    ("moved", String(plan.moves(from: placement))),
                    ("time", "\(Int(after / before * 100)) % of what experts took"),
                ])
        ] + self.plan(plan, at: now)
    }

    /// A weight for every member: who has none gets as much for each thread as the others have.
    private func filled(_ known: [WorkerID: Int]) -> [WorkerID: Int] {
        let known = known.filter { members[$0.key] != nil }
        let threads = known.keys.reduce(0) { $0 + (members[$1]?.join.threads ?? 0) }
        let each = threads > 0 ? Double(known.values.reduce(0, +)) / Double(threads) : 1
        return members.reduce(into: known) { weights, member in
            if weights[member.key] == nil {
                weights[member.key] = Int(min(max(each * Double(member.value.join.threads), 1), 1e9))
            }
        }
    }

    /// Tells the workers of a placement what it gives them.
    private mutating func plan(_ plan: Placement, at now: ContinuousClock.Instant) -> [Effect] {
        epoch = plan.epoch
        pending = plan
        var effects: [Effect] = []
        for id in members.keys where !plan.workers.contains(id) { members[id]?.waiting.pause(at: now) }
        for id in plan.workers {
            members[id]?.waiting.wait(at: now)
            let assignment = Assignment(
                epoch: epoch, precision: precision, experts: plan.experts(of: id), dataEndpoint: dataEndpoint,
                heartbeatInterval: timing.heartbeatInterval)
            effects.append(.send(.assign(assignment), to: id))
            effects += apply(.assigned, to: id, at: now)
        }
        return effects + publishIfLoaded(at: now)
    }

    /// A worker says how far it is. As long as it comes further it is waited for.
    mutating func advance(_ id: WorkerID, to progress: LoadingProgress, at now: ContinuousClock.Instant) {
        guard let member = members[id] else { return }
        // With each new plan it begins again, and has what is there already in no time: that is not coming further.
        if progress.loaded > member.furthest || progress.received > member.loading?.received ?? 0 {
            members[id]?.waiting.restart(at: now)
        }
        members[id]?.furthest = max(member.furthest, progress.loaded)
        members[id]?.loading = progress
    }

    /// Whether nothing can be served, but all could be by those who have loaded what the pending placement gives them.
    private var isHeldUpByNewcomers: Bool {
        guard let pending, !isServing(localExperts: localExperts) else { return false }
        let waiting = pending.candidates.filter {
            members[$0.id]?.liveness.state == .ready && members[$0.id]?.loadedEpoch == pending.epoch
        }
        return waiting.reduce(0) { $0 + min($1.capacity, pending.holders.count) } >= pending.holders.count
    }

    /// Leaves out, for longer each time, who does not come further with loading: the others wait for it.
    mutating func leaveOutStalled(at now: ContinuousClock.Instant) -> [Effect] {
        var effects: [Effect] = []
        let isHeldUp = isHeldUpByNewcomers
        for id in pending?.workers ?? [] {
            guard let member = members[id], member.isStaying, member.liveness.state != .suspect,
                let waited = member.waiting.elapsed(at: now),
                waited >= (isHeldUp && !member.hasServed ? timing.loadingLimit / 2 : timing.loadingLimit)
            else { continue }
            let delay = timing.loadingLimit * (2 << min(member.stalls, 5))
            members[id]?.stalls += 1
            members[id]?.hold = .stalled
            members[id]?.waiting = WaitingTime()
            members[id]?.furthest = 0
            effects.append(
                .log(
                    .warning, "worker does not come further with loading; the others go on without it",
                    fields(id) + [
                        ("tried again after", "\(delay.wholeSeconds) s"),
                        ("remedy", "see its log; it must reach \(dataEndpoint) and the port above"),
                    ]))
            effects += apply(.hold(until: now + delay), to: id, at: now)
        }
        return effects
    }
}

extension Duration {
    /// Rounded up.
    var wholeSeconds: Int { Int((self / .seconds(1)).rounded(.up)) }
}
