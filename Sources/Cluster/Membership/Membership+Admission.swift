import Transformer

extension Membership {
    mutating func takeIn(
        _ join: JoinRequest, _ id: WorkerID, _ key: PublicKey?, at now: ContinuousClock.Instant
    ) -> [Effect] {
        if let refusal = refusal(of: join) {
            let fields: Log.Fields = [("worker", id.description), ("name", join.name), ("reason", refusal.reason)]
            return [.send(.refuse(refusal), to: id), .log(.error, "refused a worker", fields)]
        }
        let owner = key?.description ?? place(of: id, on: join.host)
        members[id] = Member(join: join, liveness: Liveness(timing: timing, at: now), owner: owner, joined: now)
        guard let holdOff = holdOffs.entry(for: owner, at: now) else { return admit(id, at: now) }
        members[id]?.hold = holdOff.isBanished ? .banished : .flapping
        let reason =
            holdOff.isBanished ? "it was sent away" : "it died \(holdOff.deaths) times soon after it had joined"
        return apply(.hold(until: holdOff.until), to: id, at: now) + [
            .log(
                .warning, "a worker that joins again is held off",
                fields(id) + [("reason", reason), ("seconds", "\(now.duration(to: holdOff.until).wholeSeconds)")])
        ]
    }

    /// To whom a session without key belongs.
    private mutating func place(of id: WorkerID, on host: String) -> String {
        places.take(on: host, process: id.process, taken: Set(members.values.map(\.owner))) { [holdOffs] in
            holdOffs.entries[$0]?.until
        }
    }

    /// Lets a member take part.
    mutating func admit(_ id: WorkerID, at now: ContinuousClock.Instant) -> [Effect] {
        members[id]?.hold = nil
        // While those that serve take over from one that went, newcomers wait for their turn.
        let isWhole = placement.workers.allSatisfy { members[$0]?.isStaying == true }
        let hasCheckpoint = members[id]?.join.digest.isEmpty == false
        let introduction = description.map { [Effect.send(.model($0), to: id)] } ?? []
        return [.log(.info, "worker joined", fields(id))] + tooLittleMemory(id) + (hasCheckpoint ? [] : introduction)
            + (isWhole ? replan(newcomers: true, at: now) : [])
    }

    private func tooLittleMemory(_ id: WorkerID) -> [Effect] {
        guard let budget = members[id]?.join.memoryBudget, budget < UInt64(model.bytesPerExpert) else { return [] }
        let bytes = [("memory", "\(budget) bytes"), ("one expert needs", "\(model.bytesPerExpert) bytes")]
        let remedy = ("remedy", "give it more --memory, such as 8G")
        return [.log(.warning, "the worker has no memory for any expert", fields(id) + bytes + [remedy])]
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

    /// Those that are held off for having died are let in as soon as requests have to wait without them.
    mutating func releaseNeeded(at now: ContinuousClock.Instant) -> [Effect] {
        guard !isServing(localExperts: localExperts) else { return [] }
        return members.keys.sorted().filter { members[$0]?.hold == .flapping }.flatMap {
            apply(.hold(until: now), to: $0, at: now)
        }
    }

    mutating func countDeath(of id: WorkerID, at now: ContinuousClock.Instant) {
        guard let member = members[id] else { return }
        if let since = member.servingSince, since.duration(to: now) >= timing.provenAfter {
            holdOffs.served(member.owner, at: now)
        } else {
            holdOffs.died(member.owner, joined: member.joined, at: now)
        }
    }
}

extension JoinRequest {
    /// The name without the process.
    fileprivate var host: String { name.lastIndex(of: ":").map { String(name[..<$0]) } ?? name }
}

private func hex(_ digest: [UInt8]) -> String {
    digest.isEmpty ? "none" : digest.prefix(8).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}
