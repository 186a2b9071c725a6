/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), begun at a place
/// that several numbers name, so that what belongs to one request follows from its own numbers alone.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Equal coordinates give equal numbers.
    package init(_ coordinates: UInt64...) {
        state = 0
        for coordinate in coordinates { state = Self.mix(state &+ 0x9E37_79B9_7F4A_7C15) ^ Self.mix(coordinate) }
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    /// A number in 0..<1.
    package mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
