import Foundation

/// When requests arrive that know nothing of each other: the gaps between them are exponential.
package struct PoissonArrivals: Sendable, IteratorProtocol {
    private let rate: Double
    private var random: SeededRandom
    private var time = 0.0

    /// - Parameter rate: Requests a second on average, above 0.
    package init(rate: Double, seed: UInt64) {
        self.rate = rate
        random = SeededRandom(seed, 0x6172_7269_7665)
    }

    /// The next arrival, in seconds since the start; there is always one more.
    package mutating func next() -> Double? {
        time -= log(1 - random.uniform()) / rate
        return time
    }
}
