import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Element-wise kernels equal the scalar ones bit for bit")
struct ElementwiseTests {
    private func lengths(seed: UInt64, _ body: (Int, Values, inout SeededGenerator) -> Void) {
        var random = SeededGenerator(seed: seed)
        for values in Values.allCases {
            for length in Array(1...49) + [64, 80, 96, 127, 128, 2879, 2880] { body(length, values, &random) }
        }
    }

    @Test("quantisation to int8", arguments: Variant.vectorised)
    func quantize(variant: Variant) {
        lengths(seed: 11) { length, values, random in
            let x = GuardedBuffer(values.floats(length, &random))
            let blocks = (length + 31) / 32
            func run(_ kernels: shoal_kernels) -> ([Int8], [UInt16]) {
                let bytes = GuardedBuffer<Int8>(repeating: 99, count: blocks * 32)
                let scales = GuardedBuffer<UInt16>(repeating: 99, count: blocks)
                kernels.quantize_q8(x.start, length, bytes.start, scales.start)
                return (bytes.elements, scales.elements)
            }
            #expect(run(variant.kernels) == run(Variant.scalar.kernels), "\(length) \(values)")
        }
    }

    @Test("quantisation to 16 bits", arguments: Variant.vectorised)
    func quantizeTo16Bits(variant: Variant) {
        lengths(seed: 10) { length, values, random in
            let x = GuardedBuffer(values.floats(length, &random))
            let blocks = (length + 31) / 32
            func run(_ kernels: shoal_kernels) -> ([Int8], [Int8], [UInt16]) {
                let high = GuardedBuffer<Int8>(repeating: 99, count: blocks * 32)
                let low = GuardedBuffer<Int8>(repeating: 99, count: blocks * 32)
                let scales = GuardedBuffer<UInt16>(repeating: 99, count: blocks)
                kernels.quantize_q16(x.start, length, high.start, low.start, scales.start)
                return (high.elements, low.elements, scales.elements)
            }
            #expect(run(variant.kernels) == run(Variant.scalar.kernels), "\(length) \(values)")
        }
    }

    @Test("rounding to rows of bfloat16", arguments: Variant.vectorised)
    func quantizeToBF16(variant: Variant) {
        lengths(seed: 9) { length, values, random in
            let x = GuardedBuffer(values.floats(length, &random))
            func run(_ kernels: shoal_kernels) -> [UInt16] {
                let halves = GuardedBuffer<UInt16>(repeating: 99, count: (length + 31) / 32 * 32)
                kernels.quantize_bf16(x.start, length, halves.start)
                return halves.elements
            }
            #expect(run(variant.kernels) == run(Variant.scalar.kernels), "\(length) \(values)")
        }
    }

    @Test("RMS norm", arguments: Variant.vectorised)
    func rmsNorm(variant: Variant) {
        lengths(seed: 12) { length, values, random in
            let x = GuardedBuffer(values.floats(length, &random))
            let weight = GuardedBuffer(Values.ordinary.bfloats(length, &random))
            let found = difference(variant, count: length) { $0.rms_norm(x.start, weight.start, 1e-5, length, $1) }
            #expect(found == nil, "\(length) \(values)")
        }
    }

    @Test("rotary embedding", arguments: Variant.vectorised)
    func rope(variant: Variant) {
        lengths(seed: 13) { length, values, random in
            let (half, heads) = (min(length, 80), 3)
            let x = GuardedBuffer(values.floats(heads * 2 * half, &random))
            let cosines = GuardedBuffer(Values.ordinary.floats(half, &random))
            let sines = GuardedBuffer(Values.ordinary.floats(half, &random))
            let found = difference(variant, count: x.count) { kernels, out in
                out.update(from: x.start, count: x.count)
                kernels.rope(out, heads, 2 * half, cosines.start, sines.start)
            }
            #expect(found == nil, "\(half) \(values)")
        }
    }

    @Test("SwiGLU", arguments: Variant.vectorised)
    func swiglu(variant: Variant) {
        lengths(seed: 14) { length, values, random in
            let x = GuardedBuffer(values.floats(2 * length, &random).map { values == .ordinary ? $0 * 20 : $0 })
            let found = difference(variant, count: length) { $0.swiglu(x.start, length, 7, 1.702, $1) }
            #expect(found == nil, "\(length) \(values)")
        }
    }

    @Test("weighted sum of expert rows", arguments: Variant.vectorised)
    func combine(variant: Variant) {
        lengths(seed: 15) { length, values, random in
            let count = Int.random(in: 0...5, using: &random)
            let residual = GuardedBuffer(values.floats(length, &random))
            let floats = GuardedBuffer(values.floats(max(1, count * length), &random))
            let bfloats = GuardedBuffer(values.bfloats(max(1, count * length), &random))
            let weights = GuardedBuffer(Values.ordinary.floats(max(1, count), &random))
            let f32 = difference(variant, count: length) {
                $0.combine_f32(residual.start, floats.start, weights.start, count, length, $1)
            }
            let bf16 = difference(variant, count: length) {
                $0.combine_bf16(residual.start, bfloats.start, weights.start, count, length, $1)
            }
            #expect(f32 == nil && bf16 == nil, "\(length) \(values)")
        }
    }

    @Test("conversion from and to bfloat16", arguments: Variant.vectorised)
    func bfloat16(variant: Variant) {
        lengths(seed: 16) { length, values, random in
            let x = GuardedBuffer(
                (0..<length).map { _ in
                    Bool.random(using: &random)
                        ? values.next(&random) : Float(bitPattern: UInt32.random(in: 0 ... .max, using: &random))
                })
            func narrowed(_ kernels: shoal_kernels) -> GuardedBuffer<UInt16> {
                let out = GuardedBuffer<UInt16>(repeating: 9, count: length)
                kernels.f32_to_bf16(x.start, length, out.start)
                return out
            }
            let halves = narrowed(variant.kernels)
            #expect(halves.elements == narrowed(Variant.scalar.kernels).elements, "\(length) \(values)")
            let widened = difference(variant, count: length) { $0.bf16_to_f32(halves.start, length, $1) }
            #expect(widened == nil, "\(length) \(values)")
        }
    }

    @Test("maximum and sum of exponentials", arguments: Variant.vectorised)
    func maximumAndSum(variant: Variant) {
        lengths(seed: 17) { length, values, random in
            for first: Float? in [nil, .nan, -Float.infinity, -0.0] {
                let x = GuardedBuffer(values.floats(length, &random).map { values == .ordinary ? $0 * 50 : $0 })
                if let first { x.start[0] = first }
                let found = difference(variant, count: 2) { $0.max_and_sum_exp(x.start, length, $1, $1 + 1) }
                #expect(found == nil, "\(length) \(values)")
            }
        }
    }

    @Test("weights after temperature, and their sum", arguments: Variant.vectorised)
    func expWeights(variant: Variant) {
        lengths(seed: 19) { length, values, random in
            for temperature: Float in [1, 0.7, 1e-30, 1e30, .leastNonzeroMagnitude, .greatestFiniteMagnitude] {
                let x = GuardedBuffer(values.floats(length, &random).map { values == .ordinary ? $0 * 50 : $0 })
                if length > 1 { x.start[1] = -.infinity }
                let found = difference(variant, count: length + 1) {
                    $0.exp_weights(x.start, length, 3, temperature, $1, $1 + length)
                }
                #expect(found == nil, "\(length) \(values) \(temperature)")
            }
        }
    }

    @Test("weights that are kept, and their sum", arguments: Variant.vectorised)
    func keepWeights(variant: Variant) {
        lengths(seed: 20) { length, values, random in
            let x = GuardedBuffer(values.floats(length, &random))
            let weights = values.floats(length, &random)
            let (least, floor) = (x.start[length / 2], weights[length / 3])
            let found = difference(variant, count: length + 1) { kernels, out in
                for index in 0..<length { out[index] = weights[index] }
                kernels.keep_weights(x.start, length, least, floor, out, out + length)
            }
            #expect(found == nil, "\(length) \(values)")
        }
    }

    @Test("MXFP4 blocks of every code and every scale", arguments: Variant.vectorised)
    func dequantize(variant: Variant) {
        var random = SeededGenerator(seed: 18)
        let blocks = GuardedBuffer((0..<256).flatMap { _ in bytes(16, &random) })
        let scales = GuardedBuffer((0..<256).map { UInt8($0) })
        let found = difference(variant, count: 256 * 32) { $0.dequantize_mxfp4(blocks.start, scales.start, 256, $1) }
        #expect(found == nil)
    }
}
