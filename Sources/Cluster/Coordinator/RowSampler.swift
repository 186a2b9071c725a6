/// Draws which rows are verified. Nobody who does not know the seed can tell which.
struct RowSampler {
    private var state: UInt64
    private let threshold: UInt64
    /// Rows of a worker's first answer that are verified in any case: one whose results are always wrong is found out
    /// before any of them is used.
    static let first = 8

    let isOn: Bool

    init(rate: Double, seed: UInt64) {
        isOn = rate > 0
        threshold = rate >= 1 ? .max : UInt64(max(0, rate) * 0x1p64)
        state = seed
    }

    /// Whether to verify the next row (SplitMix64).
    mutating func draws() -> Bool {
        guard isOn else { return false }
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31 <= threshold
    }
}
