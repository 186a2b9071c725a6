import Transformer

/// One worker's part of a batch under way. Its arrays keep their memory from batch to batch.
final class WorkerShare {
    let record: WorkerRecord
    /// What has not come back.
    private(set) var assignments: [ExpertAssignment] = []
    /// The batch's rows that go to this worker, each once.
    private(set) var rows: [Int32] = []
    /// [batch rows]: where in `rows` a row is, or -1.
    private(set) var positions: [Int32] = []

    private var awaited: UInt64?
    private(set) var hasFailed = false
    private var sentAt = ContinuousClock.now
    private var bytesSent = 0
    private var patience: Duration

    init(_ record: WorkerRecord, _ timing: ClusterTiming) {
        self.record = record
        patience = timing.batchDeadline.lowerBound
    }

    var link: WorkerLink { record.link }
    var isOutstanding: Bool { !assignments.isEmpty }
    var isAwaited: Bool { awaited != nil }
    /// Whether to ask this worker for a share of the part.
    var isEligible: Bool { !hasFailed && record.isUsable }
    func isAwaiting(_ sequence: UInt64) -> Bool { awaited == sequence }

    /// Begins a part of a batch.
    func reset(rowCount: Int, _ timing: ClusterTiming) {
        restart()
        while positions.count < rowCount { positions.append(-1) }
        hasFailed = false
        patience = timing.batchDeadline.lowerBound
    }

    /// Has nothing to do, of the same part.
    func restart() {
        for row in rows { positions[Int(row)] = -1 }
        rows.removeAll(keepingCapacity: true)
        assignments.removeAll(keepingCapacity: true)
        sentAt = .now
    }

    func add(_ assignment: ExpertAssignment) {
        assignments.append(assignment)
        if positions[Int(assignment.row)] < 0 {
            positions[Int(assignment.row)] = Int32(rows.count)
            rows.append(assignment.row)
        }
    }

    func sent(_ sequence: UInt64, bytes: Int, _ timing: ClusterTiming) {
        awaited = sequence
        bytesSent = bytes
        sentAt = .now
        // Many times what it should take.
        let expected = record.sent(assignments: assignments.count)
        patience = min(timing.batchDeadline.lowerBound + .seconds(expected * 8), timing.batchDeadline.upperBound)
    }

    /// The whole share has come back.
    func answered(bytes: Int) {
        awaited = nil
        record.answered(
            assignments: assignments.count, sentAt: sentAt, bytesSent: bytesSent, bytesReceived: bytes)
        assignments.removeAll(keepingCapacity: true)
    }

    /// The worker says that it cannot answer.
    func fail() {
        awaited = nil
        hasFailed = true
        record.failed(assignments: assignments.count)
    }

    /// Waits no longer, and hands back what is missing. For the rest of the part this worker is not asked again.
    func abandon() -> [ExpertAssignment] {
        hasFailed = true
        if let sequence = awaited {
            awaited = nil
            record.abandoned(sequence, assignments: assignments.count, for: patience * 10)
        }
        defer { assignments.removeAll(keepingCapacity: true) }
        return assignments
    }

    var isLate: Bool { sentAt.duration(to: .now) > patience }
}
