/// Draws which rows are verified. Nobody who does not know the seed can tell which.
///
/// All of an expert's rows in an answer are drawn or none is: its weights are read once for them, so that the part of the
/// rows which is verified is the part of the work which is done twice.
package struct RowSampler {
    private let seed: UInt64
    private let threshold: UInt64
    /// So many of a worker's rows, the first to be used, are verified in any case: one whose results are always wrong is
    /// found out before any of them is.
    static let first = 8

    let isOn: Bool

    package init(rate: Double, seed: UInt64) {
        isOn = rate > 0
        threshold = rate >= 1 ? .max : UInt64(max(0, rate) * 0x1p64)
        self.seed = seed
    }

    /// Whether to verify an expert's rows in the answer of that number (SplitMix64, of which each pair is a state).
    package func draws(_ expert: Int32, in sequence: UInt64) -> Bool {
        guard isOn else { return false }
        var z = seed &+ (sequence << 16 &+ UInt64(truncatingIfNeeded: expert)) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31 <= threshold
    }
}
