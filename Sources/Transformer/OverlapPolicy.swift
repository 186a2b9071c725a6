/// Decides by measurement whether a step's rows go through the layers as one micro-batch or as two.
///
/// Two hide the way to the experts and back behind attention, but touch more distinct experts in all and read the
/// attention's weights twice: which is faster depends on rows, network and machine. Steps of one kind (so many rows,
/// decoding or not) are compared with each other alone. Both ways are tried in turn a few times; from then on two are taken
/// where they are faster by more than chance, and the other way is tried again now and then. The same durations give the
/// same decisions, and no decision changes a result.
package struct OverlapPolicy: Sendable {
    /// A decision, and the kind of step that it was made for.
    package struct Plan: Sendable {
        package let isSplit: Bool
        fileprivate let kind: Kind
    }

    /// Of a kind's steps, at least this many lie between two tries of what seemed slower, unless a try seemed faster.
    package static let retryInterval = 32
    /// How often each way is tried at first.
    package static let trials = 3

    /// Two micro-batches cost more work, also of whoever shares the machine, and steps vary: they must take no more than
    /// this part of the time.
    static let worthwhile = 0.97

    fileprivate struct Kind: Hashable, Sendable {
        let rows: Int
        let isDecode: Bool

        /// Row counts are told apart up to 32, and from there to within a quarter.
        init(rows: Int, isDecode: Bool) {
            let exponent = max(0, Int.bitWidth - rows.leadingZeroBitCount - 3)
            self.rows = rows > 32 ? (rows >> exponent) << exponent : rows
            self.isDecode = isDecode
        }
    }

    private struct Estimate {
        var seconds = 0.0
        var samples = 0

        /// Whatever disturbs a step makes it longer: a short sample is believed sooner than a long one, and one that is
        /// very long no more than others.
        mutating func add(_ sample: Double) {
            samples += 1
            if samples <= OverlapPolicy.trials {
                seconds = samples == 1 ? sample : min(seconds, sample)
            } else {
                seconds += (min(sample, seconds * 1.5) - seconds) * (sample < seconds ? 0.5 : 0.125)
            }
        }
    }

    private struct Record {
        var whole = Estimate()
        var split = Estimate()
        var stepsUntilRetry = OverlapPolicy.retryInterval

        var prefersSplit: Bool {
            min(whole.samples, split.samples) < OverlapPolicy.trials
                ? split.samples < whole.samples : split.seconds < whole.seconds * OverlapPolicy.worthwhile
        }
    }

    private var records: [Kind: Record] = [:]
    private var placement: UInt64?

    package init() {}

    /// Decides for a step of `rows` rows under a placement; under a new one everything is measured anew.
    package mutating func plan(rows: Int, isDecode: Bool, placement: UInt64) -> Plan {
        if placement != self.placement {
            records.removeAll(keepingCapacity: true)
            self.placement = placement
        }
        let kind = Kind(rows: rows, isDecode: isDecode)
        let record = records[kind, default: Record()]
        return Plan(isSplit: record.prefersSplit != (record.stepsUntilRetry <= 0), kind: kind)
    }

    /// Takes note of how long a planned step took.
    package mutating func record(_ plan: Plan, duration: Duration) {
        var record = records[plan.kind, default: Record()]
        let seconds = duration / .seconds(1)
        let best = min(record.whole.seconds, record.split.seconds)
        let wasRetry = plan.isSplit != record.prefersSplit
        record[keyPath: plan.isSplit ? \Record.split : \Record.whole].add(seconds)
        // The other way's estimate still remembers worse times: what surprises is tried again at once.
        let isBetter = seconds < best * (plan.isSplit ? Self.worthwhile : 1)
        let isSurprise = wasRetry && isBetter && plan.isSplit != record.prefersSplit
        record.stepsUntilRetry = isSurprise ? 0 : wasRetry ? Self.retryInterval : record.stepsUntilRetry - 1
        records[plan.kind] = record
    }
}
