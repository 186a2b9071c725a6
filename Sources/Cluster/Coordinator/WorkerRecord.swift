/// What the engine's thread knows about a worker, from batch to batch: how fast it answers, and what it still owes.
final class WorkerRecord {
    let link: WorkerLink

    /// The last answer given up on. A worker that owes one is not asked again, lest every batch wait for it in vain. It
    /// answers in order, so this one settles those before it.
    private var owed: (sequence: UInt64, until: ContinuousClock.Instant)?
    private(set) var secondsPerAssignment: Double?
    /// Assignments that it has been sent and has not answered, of all batches under way.
    private var outstanding = 0
    private var answeredAt = ContinuousClock.now

    init(_ link: WorkerLink) { self.link = link }

    /// Whether to ask this worker rather than compute locally.
    var isUsable: Bool { link.availability == .available && owed.map { ContinuousClock.now >= $0.until } ?? true }

    /// Counts what was sent. Returns how long the answer should take by this worker's record, which includes what it
    /// was sent before; until there is one, a slow machine's.
    func sent(assignments: Int) -> Double {
        outstanding += assignments
        return (secondsPerAssignment ?? 0.05) * Double(outstanding)
    }

    /// A share that was sent at `sentAt` has come back. What the worker did for a batch before is not this share's time.
    func answered(assignments: Int, sentAt: ContinuousClock.Instant, bytesSent: Int, bytesReceived: Int) {
        let now = ContinuousClock.now
        let seconds = max(sentAt, answeredAt).duration(to: now).seconds
        let perAssignment = seconds / Double(assignments)
        let mean = secondsPerAssignment.map { $0 + (perAssignment - $0) / 8 } ?? perAssignment
        link.update {
            $0.secondsPerBatch += (seconds - $0.secondsPerBatch) / ($0.batches == 0 ? 1 : 8)
            $0.secondsPerAssignment = mean
            $0.batches += 1
            $0.rows += assignments
            $0.bytesSent += bytesSent
            $0.bytesReceived += bytesReceived
        }
        secondsPerAssignment = mean
        answeredAt = now
        outstanding -= assignments
        owed = nil
    }

    /// The worker has said that it cannot compute a share.
    func failed(assignments: Int) { outstanding -= assignments }

    /// An answer is not waited for any longer. It can be lost together with its connection: after `time` the worker is
    /// tried again.
    func abandoned(_ sequence: UInt64, assignments: Int, for time: Duration) {
        outstanding -= assignments
        owed = (max(sequence, owed?.sequence ?? 0), .now + time)
    }

    /// The answer to an earlier request has come after all.
    func forgive(_ sequence: UInt64) {
        if let owed, owed.sequence <= sequence { self.owed = nil }
    }
}
