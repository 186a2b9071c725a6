/// How long a worker usually takes for a share, and how far from that it strays: moving averages, as TCP keeps of round
/// trips (RFC 6298). Shares of four rows and of a thousand have little in common, so each power of two has its own.
package struct LatencyHistory: Sendable {
    private struct Estimate {
        var mean: Double
        var deviation: Double
        var count = 1
    }

    /// [log2 of a share's assignments].
    private var estimates = [Estimate?](repeating: nil, count: Self.sizeClass(of: DataMessage.maximumAssignments) + 1)

    /// Seconds for an assignment that nobody has measured: a slow machine's that reads the weights from its disk.
    private static let unmeasured = 0.4

    package init() {}

    /// The exponent of the largest power of two that is not more.
    static func sizeClass(of assignments: Int) -> Int {
        let count = min(max(1, assignments), DataMessage.maximumAssignments)
        return Int.bitWidth - 1 - count.leadingZeroBitCount
    }

    package mutating func add(seconds: Double, assignments: Int) {
        let size = Self.sizeClass(of: assignments)
        guard var estimate = estimates[size] else {
            estimates[size] = Estimate(mean: seconds, deviation: seconds / 2)
            return
        }
        estimate.deviation += (abs(estimate.mean - seconds) - estimate.deviation) / 4
        estimate.mean += (seconds - estimate.mean) / 8
        estimate.count += 1
        estimates[size] = estimate
    }

    /// Seconds after which an answer of that size is late: three deviations above the mean, within which nearly all have
    /// come, but at least half the mean above it, because whoever is asked instead takes as long again. Nil where there
    /// have been too few to tell.
    package func usual(assignments: Int) -> Double? {
        guard let own = estimates[Self.sizeClass(of: assignments)], own.count >= 16 else { return nil }
        return own.mean + max(3 * own.deviation, own.mean / 2)
    }

    /// Seconds after which an answer is not to be expected any more, when nothing else is to be done first: four
    /// deviations above the mean.
    package func limit(assignments: Int) -> Double {
        let size = Self.sizeClass(of: assignments)
        if let own = estimates[size] { return own.mean + 4 * own.deviation }
        // A larger share takes longer than one that was measured, and not longer in proportion.
        for smaller in (0..<size).reversed() {
            guard let other = estimates[smaller] else { continue }
            return (other.mean + 4 * other.deviation) * Double(1 << (size - smaller))
        }
        for larger in estimates.dropFirst(size + 1) {
            if let larger { return larger.mean + 4 * larger.deviation }
        }
        return Self.unmeasured * Double(assignments)
    }
}
