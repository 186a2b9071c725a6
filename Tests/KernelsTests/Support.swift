import Foundation
import Kernels
import TestSupport
import Testing

/// One implementation of the kernels.
struct Variant: Sendable, CustomTestStringConvertible {
    let isa: shoal_isa
    let testDescription: String

    var kernels: shoal_kernels {
        guard let kernels = shoal_kernels_for(isa) else { fatalError("\(testDescription) vanished") }
        return kernels.pointee
    }

    static let scalar = Variant(isa: SHOAL_ISA_SCALAR, testDescription: "scalar")

    /// Every variant that this processor has.
    static let all: [Variant] = (0..<UInt32(SHOAL_ISA_COUNT)).compactMap { number in
        let isa = shoal_isa(rawValue: number)
        return shoal_kernels_for(isa).map { Variant(isa: isa, testDescription: String(cString: $0.pointee.name)) }
    }

    /// Those that must equal the scalar one.
    static let vectorised = all.filter { $0.isa != SHOAL_ISA_SCALAR }
}

/// Which numbers a test feeds.
enum Values: CaseIterable, Sendable {
    case ordinary, wide, faint, zeros, denormal, huge, special

    func next(_ random: inout SeededGenerator) -> Float {
        let unit = Float.random(in: -1...1, using: &random)
        switch self {
        case .ordinary: return unit
        case .wide: return unit * Float(sign: .plus, exponent: .random(in: -40...40, using: &random), significand: 1)
        // Around 2^-56, below which factors of bfloat16 products are zero.
        case .faint:
            return unit * Float(sign: .plus, exponent: .random(in: -62 ... -50, using: &random), significand: 1)
        case .zeros: return [0, -0.0, unit].randomElement(using: &random) ?? 0
        case .denormal:
            return Float(bitPattern: UInt32.random(in: 0...0x00ff_ffff, using: &random) | (unit < 0 ? 1 << 31 : 0))
        case .huge: return unit * Float.greatestFiniteMagnitude
        case .special:
            let rare: [Float] = [.nan, .infinity, -.infinity, .signalingNaN, -0.0, .greatestFiniteMagnitude]
            return Int.random(in: 0..<40, using: &random) == 0 ? rare.randomElement(using: &random) ?? 0 : unit
        }
    }

    func floats(_ count: Int, _ random: inout SeededGenerator) -> [Float] {
        (0..<count).map { _ in next(&random) }
    }

    func bfloats(_ count: Int, _ random: inout SeededGenerator) -> [UInt16] {
        floats(count, &random).map { UInt16($0.bitPattern >> 16) }
    }
}

func bytes(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
}

func float(bfloat bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

/// The first place where two results differ in a bit; any NaN equals any other.
func firstDifference(_ found: GuardedBuffer<Float>, _ expected: GuardedBuffer<Float>) -> String? {
    for (index, (a, b)) in zip(found.elements, expected.elements).enumerated()
    where a.bitPattern != b.bitPattern && !(a.isNaN && b.isNaN) {
        return "[\(index)]: found \(a), expected \(b)"
    }
    return nil
}

/// A run of `kernel` by each of two variants on results that begin alike.
func difference(
    _ variant: Variant, count: Int, _ kernel: (shoal_kernels, UnsafeMutablePointer<Float>) -> Void
) -> String? {
    let found = GuardedBuffer<Float>(repeating: -77, count: count)
    let expected = GuardedBuffer<Float>(repeating: -77, count: count)
    kernel(variant.kernels, found.start)
    kernel(Variant.scalar.kernels, expected.start)
    return firstDifference(found, expected)
}
