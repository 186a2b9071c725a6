/// What the engine's thread knows about a worker, from batch to batch: how fast it answers, and what it still owes.
struct WorkerRecord {
    private struct Debt {
        let sequence: UInt64
        let assignments: Int
        let begunAt: ContinuousClock.Instant
        let patience: Duration
        let until: ContinuousClock.Instant
    }

    let link: WorkerLink
    private(set) var latencies = LatencyHistory()

    /// The last answer given up on. A worker that owes one is not asked again, lest every batch wait for it in vain. It
    /// answers in order, so this one settles those before it.
    private var debt: Debt?
    /// Others were asked for what it was late with: it gets no more before it has answered.
    var isLagging = false
    private var answeredAt: ContinuousClock.Instant?
    /// Rows of its that were taken.
    var taken = 0

    init(_ link: WorkerLink) { self.link = link }

    /// Whether nothing can be had from it any more.
    var isGone: Bool { link.availability == .gone || link.isAccused }

    /// Whether to ask this worker rather than another.
    func isUsable(at now: ContinuousClock.Instant) -> Bool { !isLagging && !isSilent(at: now) }

    /// Whether what it was asked for is to be computed elsewhere, where that can be.
    func isSilent(at now: ContinuousClock.Instant) -> Bool {
        !(link.availability == .available && !link.isAccused && debt.map { now >= $0.until } ?? true)
    }

    /// A share has come back. What the worker did for a batch before is not this share's time.
    mutating func answered(_ share: WorkerShare, at now: ContinuousClock.Instant) {
        let seconds = max(share.begunAt, answeredAt ?? share.begunAt).duration(to: now).seconds
        let count = share.items.count
        latencies.add(seconds: seconds, assignments: count)
        link.update {
            let weight = $0.batches == 0 ? 1.0 : 0.125
            $0.secondsPerBatch += (seconds - $0.secondsPerBatch) * weight
            $0.secondsPerAssignment += (seconds / Double(count) - $0.secondsPerAssignment) * weight
            $0.batches += 1
            $0.rows += count
            $0.bytesSent += share.bytesSent
            $0.bytesReceived += share.bytesReceived
        }
        answeredAt = now
        isLagging = false
        debt = nil
    }

    /// An answer is not waited for any longer. It can be lost together with its connection: after a while the worker is
    /// tried again.
    mutating func abandoned(_ share: WorkerShare, at now: ContinuousClock.Instant) {
        isLagging = false
        if let debt, debt.sequence > share.sequence { return }
        debt = Debt(
            sequence: share.sequence, assignments: share.items.count, begunAt: share.begunAt, patience: share.patience,
            until: now + share.patience * 10)
    }

    /// The answer to an earlier request has come after all. From it patience learns that the worker has become slower:
    /// up to twofold, for it may as well have been stopped.
    /// - Parameter end: the assignments of the request up to which it goes; nil: nothing more will come.
    mutating func settle(_ sequence: UInt64, upTo end: Int?, at now: ContinuousClock.Instant) {
        guard let debt, debt.sequence <= sequence else { return }
        if debt.sequence == sequence {
            if let end, end < debt.assignments { return }
            let seconds = min(debt.begunAt.duration(to: now), debt.patience * 2).seconds
            latencies.add(seconds: seconds, assignments: debt.assignments)
        }
        self.debt = nil
    }
}
