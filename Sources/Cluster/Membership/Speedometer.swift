/// How fast a worker computes, by what it says that it has computed.
///
/// Its own time for computing, and nothing of waiting, travelling and queueing: those depend on what everyone else does,
/// and two workers that are asked in turn, or while the coordinator attends, would look alike. The median of the last
/// samples: a worker that was stopped for a moment, or read its weights from the disk, is not slower for it.
package struct Speedometer: Sendable {
    /// Time of computing that makes a sample.
    private static let nanosecondsPerSample: UInt64 = 20_000_000
    private static let samples = (least: 5, most: 15)

    private var last: ComputeTotals?
    private var recent: [Double] = []

    package init() {}

    /// Work in a second of computing (``ComputeTotals/work``), 1 to a thousand million; nil until it is known.
    package var speed: Int? {
        guard recent.count >= Self.samples.least else { return nil }
        return Int(min(max(recent.sorted()[recent.count / 2], 1), 1e9))
    }

    package mutating func read(_ totals: ComputeTotals) {
        guard let last, totals.work >= last.work, totals.nanoseconds >= last.nanoseconds else {
            self.last = totals
            return
        }
        let nanoseconds = totals.nanoseconds - last.nanoseconds
        guard nanoseconds >= Self.nanosecondsPerSample else { return }
        recent.append(Double(totals.work - last.work) / Double(nanoseconds) * 1e9)
        if recent.count > Self.samples.most { recent.removeFirst() }
        self.last = totals
    }
}
