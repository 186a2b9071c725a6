import JSON

/// What is said of a set of measurements. A percentile is a measurement itself: the smallest that is at least as great
/// as that share of all (nearest rank).
public struct Statistic: Sendable, Equatable {
    /// How many there are.
    public let count: Int
    /// Their arithmetic mean.
    public let mean: Double
    /// The percentiles.
    public let p50, p90, p99: Double
    /// The greatest.
    public let max: Double

    /// Nil where there are none.
    public init?(_ values: [Double]) {
        let sorted = values.sorted()
        guard let greatest = sorted.last else { return nil }
        count = sorted.count
        mean = sorted.reduce(0, +) / Double(sorted.count)
        max = greatest
        // In whole numbers: 0.9 is no binary fraction.
        func percentile(_ percent: Int) -> Double { sorted[(percent * sorted.count + 99) / 100 - 1] }
        (p50, p90, p99) = (percentile(50), percentile(90), percentile(99))
    }

    var json: JSONValue {
        [
            "count": JSONValue(count), "mean": .seconds(mean), "p50": .seconds(p50), "p90": .seconds(p90),
            "p99": .seconds(p99), "max": .seconds(max),
        ]
    }
}
