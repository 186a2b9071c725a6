import Transformer

/// One worker's part of the batch being computed, and what it still owes of earlier ones. Its arrays keep their memory.
final class WorkerShare {
    let link: WorkerLink
    var assignments: [ExpertAssignment] = []
    /// The batch's rows that go to this worker, each once.
    private(set) var rows: [Int32] = []
    /// [batch rows]: where in `rows` a row is, or -1.
    private(set) var positions: [Int32] = []

    private var awaited: UInt64?
    private(set) var hasFailed = false
    private var sentAt = ContinuousClock.now
    private var bytesSent = 0
    /// An answer given up on. A worker that owes one is not asked again, lest every batch wait for it in vain.
    private var owed: (sequence: UInt64, until: ContinuousClock.Instant)?
    private var secondsPerAssignment: Double?

    init(_ link: WorkerLink) { self.link = link }

    /// Whether to ask this worker rather than compute locally.
    var isUsable: Bool { link.availability == .available && owed.map { ContinuousClock.now >= $0.until } ?? true }

    var isOutstanding: Bool { !assignments.isEmpty }
    var isAwaited: Bool { awaited != nil }
    func isAwaiting(_ sequence: UInt64) -> Bool { awaited == sequence }

    func reset(rowCount: Int) {
        for row in rows { positions[Int(row)] = -1 }
        rows.removeAll(keepingCapacity: true)
        assignments.removeAll(keepingCapacity: true)
        while positions.count < rowCount { positions.append(-1) }
        hasFailed = false
        sentAt = .now
    }

    func add(_ assignment: ExpertAssignment) {
        assignments.append(assignment)
        if positions[Int(assignment.row)] < 0 {
            positions[Int(assignment.row)] = Int32(rows.count)
            rows.append(assignment.row)
        }
    }

    func sent(_ sequence: UInt64, bytes: Int) {
        awaited = sequence
        bytesSent = bytes
        sentAt = .now
    }

    /// The whole share has come back.
    func answered(bytes: Int) {
        let seconds = sentAt.duration(to: .now).seconds
        let perAssignment = seconds / Double(assignments.count)
        let mean = secondsPerAssignment.map { $0 + (perAssignment - $0) / 8 } ?? perAssignment
        link.update {
            $0.secondsPerBatch += (seconds - $0.secondsPerBatch) / ($0.batches == 0 ? 1 : 8)
            $0.secondsPerAssignment = mean
            $0.batches += 1
            $0.rows += assignments.count
            $0.bytesSent += bytesSent
            $0.bytesReceived += bytes
        }
        secondsPerAssignment = mean
        awaited = nil
        owed = nil
        assignments.removeAll(keepingCapacity: true)
    }

    /// The worker says that it cannot answer; false when it was not asked.
    func fail(_ sequence: UInt64) -> Bool {
        forgive(sequence)
        guard awaited == sequence else { return false }
        awaited = nil
        hasFailed = true
        return true
    }

    /// The answer to an earlier request has come after all.
    func forgive(_ sequence: UInt64) {
        if owed?.sequence == sequence { owed = nil }
    }

    /// Waits no longer for the present answer.
    func abandon(_ timing: ClusterTiming) {
        guard let sequence = awaited else { return }
        awaited = nil
        // An answer can be lost together with its connection: in the end the worker is tried again.
        owed = (sequence, .now + patience(timing) * 10)
    }

    func isLate(_ timing: ClusterTiming) -> Bool { sentAt.duration(to: .now) > patience(timing) }

    /// Many times what the answer should take by this worker's record; before there is one, a slow machine's.
    private func patience(_ timing: ClusterTiming) -> Duration {
        let expected = (secondsPerAssignment ?? 0.05) * Double(assignments.count)
        return min(timing.batchDeadline.lowerBound + .seconds(expected * 8), timing.batchDeadline.upperBound)
    }
}
