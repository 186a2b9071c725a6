import Transformer

/// A batch under way: what of it was sent to whom, and what the coordinator computes itself. A batch larger than a
/// message goes in parts, one after another. Its arrays keep their memory from batch to batch.
final class Flight {
    /// The part under way.
    private(set) var part: ExpertBatch
    private(set) var sequence: UInt64 = 0
    /// One for each worker of the placement.
    let shares: [WorkerShare]
    /// What of the part is to be computed here.
    var localShare: [ExpertAssignment] = []
    /// What a worker was to compute and does not, and the last reason.
    private(set) var orphans: [ExpertAssignment] = []
    private(set) var misfortune: String?
    private var rest: Slice<UnsafeBufferPointer<ExpertAssignment>>

    init(_ batch: ExpertBatch, shares: [WorkerShare]) {
        part = batch
        rest = batch.assignments[...]
        self.shares = shares
    }

    var isOutstanding: Bool { shares.contains(where: \.isOutstanding) }

    func begin(_ batch: ExpertBatch) {
        part = batch
        rest = batch.assignments[...]
        misfortune = nil
    }

    /// Goes on to the next part, of which nothing is shared out yet; false after the last.
    func nextPart(_ sequence: UInt64, _ timing: ClusterTiming) -> Bool {
        guard !rest.isEmpty else { return false }
        let next = rest.prefix(DataMessage.maximumAssignments)
        rest = rest.dropFirst(next.count)
        part.assignments = UnsafeBufferPointer(rebasing: next)
        self.sequence = sequence
        for share in shares { share.reset(rowCount: part.rowCount, timing) }
        return true
    }

    /// Waits no longer for a worker.
    func abandon(_ share: WorkerShare, because reason: String) {
        share.link.update { $0.failures += 1 }
        orphans += share.abandon()
        misfortune = "worker \(share.link.id) \(reason)"
    }

    /// Hands out what was abandoned, under a new sequence number.
    func retry(_ sequence: UInt64, divide: (UnsafeBufferPointer<ExpertAssignment>) throws -> Void) rethrows {
        self.sequence = sequence
        for share in shares { share.restart() }
        try orphans.withUnsafeBufferPointer(divide)
        orphans.removeAll(keepingCapacity: true)
    }

    /// Waits for nothing any more.
    func abandon() {
        localShare.removeAll(keepingCapacity: true)
        orphans.removeAll(keepingCapacity: true)
        for share in shares { _ = share.abandon() }
    }
}
