import Transformer

/// How long is waited for whom.
extension Dispatcher {
    /// The least time after which an answer is late enough to ask another: less, and asking takes longer than waiting.
    private static let leastHedgeDelay = 0.01

    /// A share was sent. The worker computes first what it was sent before.
    package mutating func sent(_ share: Int, bytes: Int, at now: ContinuousClock.Instant) {
        let latencies = records[shares[share].worker].latencies
        let count = shares[share].items.count
        var limit = latencies.limit(assignments: count)
        var usual = latencies.usual(assignments: count)
        for other in shares.indices
        where shares[other].isActive && shares[other].isSent && shares[other].worker == shares[share].worker {
            let earlier = shares[other].awaited.count
            limit += latencies.limit(assignments: earlier)
            usual = latencies.usual(assignments: earlier).flatMap { time in usual.map { $0 + time } }
        }
        let bounds = timing.batchDeadline
        let delay: Duration? =
            switch options.hedging {
            case .never: nil
            case .automatic: usual.map { .seconds(max($0, Self.leastHedgeDelay)) }
            case .after(let delay): delay
            }
        shares[share].sent(
            bytes: bytes, at: now, patience: min(max(.seconds(limit), bounds.lowerBound), bounds.upperBound),
            hedgingAfter: delay)
        if !shares[share].isHedge { budget.earn(count) }
    }

    /// Whether nobody is to be called late yet: after a time in which this process was stopped or busy, answers that came
    /// meanwhile are taken first, and those that were under way.
    private mutating func isCatchingUp(at now: ContinuousClock.Instant) -> Bool {
        if let lookedAt, lookedAt.duration(to: now) > .milliseconds(100) { catchingUpUntil = now + .milliseconds(20) }
        lookedAt = now
        return catchingUpUntil.map { now < $0 } ?? false
    }

    /// Gives up on shares of the first batch whose workers are not to be waited for, also when one was just given up on for
    /// another batch; and on those that nobody needs any more, and that never come.
    mutating func giveUpOnHopeless(at now: ContinuousClock.Instant) {
        let isPatient = isCatchingUp(at: now)
        for share in shares.indices where shares[share].isActive {
            let flight = flight(of: share)
            if let flight, flight > 0 { continue }
            let worker = shares[share].worker
            if now > shares[share].deadline, !isPatient {
                giveUp(share, because: "did not answer in time for \(shares[share].awaited.count) rows", at: now)
            } else if records[worker].isGone {
                giveUp(share, because: "is gone", at: now)
            } else if flight != nil, records[worker].isSilent(at: now), canDoWithout(share, at: now) {
                giveUp(share, because: "is silent", at: now)
            }
        }
    }

    /// Asks others as well for a share of the first batch that is late; false when there is none, or no budget for it.
    mutating func hedge(at now: ContinuousClock.Instant) throws -> Bool {
        guard !isCatchingUp(at: now) else { return false }
        for share in shares.indices where shares[share].isActive && shares[share].part == flights[0].number {
            guard let time = shares[share].hedgeAt, now >= time, canDoWithout(share, at: now) else { continue }
            shares[share].hedged()
            let worker = shares[share].worker
            guard budget.spend(shares[share].awaited.count) else { continue }
            records[worker].isLagging = true
            records[worker].link.update { $0.hedges += 1 }
            for item in shares[share].awaited where flights[0].isMissing(item.assignment) {
                flights[0].askAnother(item.assignment)
            }
            try divide(0, isHedge: true, at: now)
            return true
        }
        return false
    }

    /// Until the next share is late, as far as that is sooner than what nobody announces: a worker that goes.
    func millisecondsToWait(at now: ContinuousClock.Instant) -> Int {
        var wait = Duration.milliseconds(5)
        for share in shares.indices where shares[share].isActive {
            if let time = shares[share].hedgeAt { wait = min(wait, now.duration(to: time)) }
        }
        return max(1, wait.milliseconds)
    }

    /// Whether somebody else can compute what a worker was given.
    func canDoWithout(_ share: Int, at now: ContinuousClock.Instant) -> Bool {
        guard !hasLocalExperts, let flight = flight(of: share) else { return true }
        return shares[share].awaited.allSatisfy {
            let expert = Int(flights[flight].assignment($0.assignment).expert)
            return routes.holders(layer: flights[flight].part.layer, expert: expert).contains {
                $0 != shares[share].worker && isEligible($0, for: flight, at: now)
            }
        }
    }

    /// Waits no longer for a share: what is missing of it is to be shared out anew, and not to this worker.
    mutating func giveUp(
        _ share: Int, because reason: String, isSettled: Bool = false, at now: ContinuousClock.Instant
    ) {
        let worker = shares[share].worker
        end(share, isSettled: isSettled, at: now)
        records[worker].link.update { $0.failures += 1 }
        guard let flight = flight(of: share) else { return }
        flights[flight].misfortune = "worker \(records[worker].link.id) \(reason)"
        flights[flight].isExcluded[worker] = true
        for item in shares[share].awaited { flights[flight].unask(item.assignment) }
    }
}
