/// How much of each batch the coordinator computes itself beside its workers, found by trying.
///
/// Its weight, in units of a worker's, is best near where it is done when its workers are. It may grow while the
/// coordinator is first, and shrink while it is last. Where experts are few, either may be far from even: then it stays on
/// the side of that threshold on which batches take less time, and tries the other now and then. Neither speeds nor links
/// have to be known: what a link takes, attention in between, and processors that both share are in the time. Batches of
/// one kind have little in common with those of another, so each has its own weight.
package struct OwnShare: Sendable {
    /// A batch's size, as a power of two, and whether the coordinator attends to another in between.
    package struct Kind: Sendable {
        fileprivate let index: Int

        package init(assignments: Int, isBesideAnother: Bool) {
            index = LatencyHistory.sizeClass(of: assignments) * 2 + (isBesideAnother ? 1 : 0)
        }
    }

    /// Who had to wait for whom.
    package enum Outcome: Sendable {
        /// Workers were not done when the coordinator was.
        case first
        /// All answers were there when it was done, or it had left nothing to workers.
        case last
    }

    /// What batches took that ended in one way.
    private struct Side {
        /// A moving average; nil when it is to be tried again.
        var seconds: Double?
        /// Batches since then that ended in the other way.
        var age = 0

        mutating func add(_ sample: Double) {
            seconds = seconds.map { $0 + (sample - $0) / 8 } ?? sample
            age = 0
        }

        mutating func growOlder(beside other: Side) {
            age += 1
            guard let seconds, let theirs = other.seconds else { return }
            let loss = seconds / max(theirs, 1e-9) - 1
            if Double(age) >= max(OwnShare.retryInterval, loss * OwnShare.batchesPerLoss) { self.seconds = nil }
        }

        func isWorse(than other: Side) -> Bool {
            guard let seconds, let theirs = other.seconds else { return true }
            return seconds >= theirs
        }
    }

    private struct Record {
        var weight = 0.5
        var first = Side(), last = Side()
    }

    package static let weights = 1.0 / 64...64.0
    /// The least number of batches between two tries of what seemed worse.
    private static let retryInterval = 256.0
    /// And as many as keep what tries cost to half a percent.
    private static let batchesPerLoss = 200.0
    private static let step = 1.0 / 16

    private var records = [Record](
        repeating: Record(), count: 2 * (LatencyHistory.sizeClass(of: DataMessage.maximumAssignments) + 1))

    package init() {}

    package func weight(_ kind: Kind) -> Double { records[kind.index].weight }

    /// - Parameter seconds: what the batch took, for each of its assignments.
    package mutating func learn(_ outcome: Outcome, _ kind: Kind, seconds: Double) {
        var record = records[kind.index]
        switch outcome {
        case .first:
            record.first.add(seconds)
            record.last.growOlder(beside: record.first)
            if record.first.isWorse(than: record.last) { record.weight *= 1 + Self.step }
        case .last:
            record.last.add(seconds)
            record.first.growOlder(beside: record.last)
            if record.last.isWorse(than: record.first) { record.weight *= 1 - Self.step }
        }
        record.weight = min(max(record.weight, Self.weights.lowerBound), Self.weights.upperBound)
        records[kind.index] = record
    }
}
