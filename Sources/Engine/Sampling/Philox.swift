/// The counter-based generator Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
/// SC 2011). A draw is a function of its key and counter alone, so it depends on no other request and on no order.
package enum Philox {
    /// Four random words of `counter` under `key`.
    package static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var counter = counter
        var key = key
        for _ in 0..<10 {
            let first = UInt32(0xD251_1F53).multipliedFullWidth(by: counter[0])
            let second = UInt32(0xCD9E_8D57).multipliedFullWidth(by: counter[2])
            counter = SIMD4(
                second.high ^ counter[1] ^ key[0], second.low, first.high ^ counter[3] ^ key[1], first.low)
            key &+= SIMD2(0x9E37_79B9, 0xBB67_AE85)
        }
        return counter
    }

    /// The uniform number in 0..<1, a multiple of 2^-53, that belongs to `position` of a sequence with `seed`.
    package static func uniform(seed: UInt64, position: Int) -> Double {
        let words = block(
            counter: SIMD4(UInt32(truncatingIfNeeded: position), UInt32(truncatingIfNeeded: position >> 32), 0, 0),
            key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32)))
        return Double((UInt64(words[1]) << 32 | UInt64(words[0])) >> 11) * 0x1p-53
    }
}
