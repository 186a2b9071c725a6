/// What the engine's thread knows about a worker, from batch to batch: how fast it answers, and what it still owes.
struct WorkerRecord {
    let link: WorkerLink

    /// The last answer given up on. A worker that owes one is not asked again, lest every batch wait for it in vain. It
    /// answers in order, so this one settles those before it.
    private var owed: (sequence: UInt64, until: ContinuousClock.Instant)?
    private var secondsPerAssignment: Double?
    /// Assignments that it has been sent and has not answered, of all batches under way.
    private var outstanding = 0
    private var answeredAt = ContinuousClock.now

    init(_ link: WorkerLink) { self.link = link }

    /// Whether to ask this worker rather than compute locally.
    func isUsable(at now: ContinuousClock.Instant) -> Bool {
        link.availability == .available && owed.map { now >= $0.until } ?? true
    }

    /// Counts what was sent. Returns how long the answer should take by this worker's record, which includes what it
    /// was sent before; until there is one, a slow machine's.
    mutating func sent(assignments: Int) -> Double {
        outstanding += assignments
        return (secondsPerAssignment ?? 0.05) * Double(outstanding)
    }

    /// A share has come back. What the worker did for a batch before is not this share's time.
    mutating func answered(_ share: WorkerShare, bytesReceived: Int, at now: ContinuousClock.Instant) {
        let seconds = max(share.begunAt, answeredAt).duration(to: now).seconds
        let perAssignment = seconds / Double(share.items.count)
        let mean = secondsPerAssignment.map { $0 + (perAssignment - $0) / 8 } ?? perAssignment
        link.update {
            $0.secondsPerBatch += (seconds - $0.secondsPerBatch) / ($0.batches == 0 ? 1 : 8)
            $0.secondsPerAssignment = mean
            $0.batches += 1
            $0.rows += share.items.count
            $0.bytesSent += share.bytesSent
            $0.bytesReceived += bytesReceived
        }
        secondsPerAssignment = mean
        answeredAt = now
        outstanding -= share.items.count
        owed = nil
    }

    /// The worker has said that it cannot compute a share.
    mutating func failed(assignments: Int) { outstanding -= assignments }

    /// An answer is not waited for any longer. It can be lost together with its connection: after a while the worker is
    /// tried again.
    mutating func abandoned(_ share: WorkerShare, at now: ContinuousClock.Instant) {
        outstanding -= share.items.count
        owed = (max(share.sequence, owed?.sequence ?? 0), now + share.patience * 10)
    }

    /// The answer to an earlier request has come after all.
    mutating func forgive(_ sequence: UInt64) {
        if let owed, owed.sequence <= sequence { self.owed = nil }
    }
}
