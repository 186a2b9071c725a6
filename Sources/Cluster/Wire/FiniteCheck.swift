package import Transformer

/// Finds NaN and infinity among the floats of a frame, eight bytes at a time: both have all bits of their exponent set, so
/// that adding the lowest of them to the exponent alone carries into the sign's place.
package struct FiniteCheck {
    private let exponents: UInt64
    private let lowest: UInt64
    private let carries: UInt64

    /// Of expert outputs in that precision.
    package init(_ precision: Precision) {
        switch precision {
        case .int8, .bf16:
            (exponents, lowest, carries) = (0x7F80_7F80_7F80_7F80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000)
        case .exact:
            (exponents, lowest, carries) = (0x7F80_0000_7F80_0000, 0x0080_0000_0080_0000, 0x8000_0000_8000_0000)
        }
    }

    /// Whether every element is finite. The bytes may lie at any address.
    package func passes(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let start = bytes.baseAddress else { return true }
        let words = bytes.count / 8
        var found: UInt64 = 0
        for index in 0..<words {
            found |= (start.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) & exponents) &+ lowest
        }
        var rest: UInt64 = 0
        withUnsafeMutableBytes(of: &rest) { $0.copyBytes(from: bytes.dropFirst(words * 8)) }
        found |= (rest & exponents) &+ lowest
        return found & carries == 0
    }
}
