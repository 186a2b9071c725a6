import Foundation
import Kernels
import TestSupport
import Testing

@Suite("The shared arithmetic, against double precision")
struct AccuracyTests {
    @Test("exp is within 2e-7 where its result is a normal number")
    func exponential() {
        var x: Float = -87.3
        var worst = 0.0
        while x < 88.7 {
            worst = max(worst, abs(Double(shoal_exp(x)) / Foundation.exp(Double(x)) - 1))
            x += 0.00137
        }
        #expect(worst < 2e-7)
        #expect(shoal_exp(-87.4) == 0 && shoal_exp(-.infinity) == 0)
        #expect(shoal_exp(88.8) == .infinity && shoal_exp(.infinity) == .infinity)
        #expect(shoal_exp(.nan).isNaN && shoal_exp(0) == 1 && shoal_exp(-0.0) == 1)
    }

    @Test("an int8 block errs by at most half a step and a bfloat16 scale is never too small", arguments: Variant.all)
    func quantization(variant: Variant) {
        var random = SeededGenerator(seed: 31)
        for values in [Values.ordinary, .wide, .zeros, .huge] {
            let x = values.floats(32 * 64, &random)
            let rows = Q8Rows(x, rows: 1, columns: x.count)
            for block in 0..<64 {
                let part = x[block * 32..<(block + 1) * 32]
                let scale = float(bfloat: rows.scales.start[block])
                let largest = part.map { abs($0) }.max() ?? 0
                guard largest >= 0x1p-100 else {
                    #expect(scale == 0)
                    continue
                }
                #expect(
                    Double(scale) * 127 >= Double(largest) * (1 - 1e-7) && Double(scale) * 127 <= Double(largest) * 1.01
                )
                for (offset, value) in part.enumerated() {
                    let restored = Double(rows.values.start[block * 32 + offset]) * Double(scale)
                    #expect(abs(restored - Double(value)) <= Double(scale) * 0.50001)
                }
            }
        }
    }

    @Test("packed weights are the quantised rows, interleaved in tiles and padded with zeros")
    func packing() {
        var random = SeededGenerator(seed: 32)
        for (rows, columns) in [(1, 1), (16, 32), (19, 40), (33, 1000), (48, 513)] {
            let matrix = Values.special.bfloats(rows * columns, &random)
            let packed = Q8Matrix(matrix, rows: rows, columns: columns, bias: nil)
            let expected = Q8Rows(matrix.map(float(bfloat:)), rows: rows, columns: columns)
            for row in 0..<(rows + 15) / 16 * 16 {
                for block in 0..<packed.blocks {
                    let tile = (row / 16 * packed.blocks + block) * 16
                    let scale = row < rows ? expected.scales.start[row * packed.blocks + block] : 0
                    #expect(packed.scales.start[tile + row % 16] == scale)
                    for column in 0..<32 {
                        let value = row < rows ? expected.values.start[(row * packed.blocks + block) * 32 + column] : 0
                        let at = tile * 32 + (column / 4 * 16 + row % 16) * 4 + column % 4
                        #expect(Int(packed.values.start[at]) == Int(value) + 128)
                    }
                }
            }
            let pieces = Q8Matrix(matrix, rows: rows, columns: columns, bias: nil)
            let source = GuardedBuffer(matrix)
            for begin in stride(from: 0, to: rows, by: 16) {
                shoal_q8_pack(
                    source.start, rows, columns, begin, min(begin + 16, rows), pieces.values.start, pieces.scales.start)
            }
            #expect(pieces.values.elements == packed.values.elements)
        }
    }

    @Test("16-bit blocks are within half a step of what they stand for, planes within ±127", arguments: Variant.all)
    func sixteenBitBlocks(variant: Variant) {
        var random = SeededGenerator(seed: 34)
        let columns = 32 * 500
        let x = Values.ordinary.floats(columns, &random)
        let (high, low) = (
            GuardedBuffer<Int8>(repeating: 0, count: columns), GuardedBuffer<Int8>(repeating: 0, count: columns)
        )
        let scales = GuardedBuffer<UInt16>(repeating: 0, count: columns / 32)
        variant.kernels.quantize_q16(x, columns, high.start, low.start, scales.start)
        for k in 0..<columns {
            let (scale, value) = (
                Double(float(bfloat: scales.start[k / 32])), Int(high.start[k]) * 255 + Int(low.start[k])
            )
            // Half a step, and what rounding 1/scale and the product to float32 adds: 2 * 32512 * 2^-24 of a step.
            #expect(abs(Double(value) * scale - Double(x[k])) <= 0.504 * scale)
            #expect(high.start[k] != -128 && low.start[k] != -128)
        }
    }

    @Test("products of int8 blocks", arguments: Variant.all)
    func int8Products(variant: Variant) {
        var random = SeededGenerator(seed: 33)
        let (tokens, rows, columns) = (3, 20, 2880)
        let x = Q8Rows(Values.ordinary.floats(tokens * columns, &random), rows: tokens, columns: columns)
        let mxfp4 = MXFP4Matrix(rows: rows, columns: columns, anyScale: false, bias: true, &random)
        let q8 = Q8Matrix(Values.ordinary.bfloats(rows * columns, &random), rows: rows, columns: columns, bias: nil)
        let y = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
        let z = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
        var (a, b, c) = (mxfp4.c, q8.c, x.c)
        variant.kernels.matmul_mxfp4_q8(&a, &c, 0, rows, y.start, rows)
        variant.kernels.matmul_q8_q8(&b, &c, 0, rows, z.start, rows)
        for t in 0..<tokens {
            for n in 0..<rows {
                var sums = (y: 0.0, z: 0.0, absolute: (y: 0.0, z: 0.0))
                for k in 0..<columns {
                    let u =
                        Double(x.values.start[t * columns + k])
                        * Double(float(bfloat: x.scales.start[t * x.blocks + k / 32]))
                    let tile = (n / 16 * q8.blocks + k / 32) * 16
                    let at = tile * 32 + (k % 32 / 4 * 16 + n % 16) * 4 + k % 4
                    let v = (Double(q8.values.start[at]) - 128) * Double(float(bfloat: q8.scales.start[tile + n % 16]))
                    sums.y += u * mxfp4.value(n, k)
                    sums.z += u * v
                    sums.absolute.y += abs(u * mxfp4.value(n, k))
                    sums.absolute.z += abs(u * v)
                }
                sums.y += mxfp4.bias.map { Double(float(bfloat: $0.start[n])) } ?? 0
                #expect(abs(Double(y.start[t * rows + n]) - sums.y) <= 1e-6 * sums.absolute.y)
                #expect(abs(Double(z.start[t * rows + n]) - sums.z) <= 1e-6 * sums.absolute.z)
            }
        }
    }

    @Test("products of bfloat16 rows with weights of any size that counts", arguments: Variant.all)
    func bfloat16Products(variant: Variant) {
        var random = SeededGenerator(seed: 35)
        let (tokens, rows, columns) = (3, 20, 2880)
        let x = BF16Rows(Values.wide.floats(tokens * columns, &random), rows: tokens, columns: columns)
        let mxfp4 = MXFP4Matrix(
            blocks: bytes(rows * columns / 2, &random),
            scales: (0..<rows * columns / 32).map { _ in .random(in: 72...150, using: &random) }, rows: rows,
            columns: columns)
        let dense = BF16Matrix(Values.wide.bfloats(rows * columns, &random), rows: rows, columns: columns, bias: nil)
        let y = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
        let z = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
        var (a, b, c) = (mxfp4.c, dense.c, x.c)
        variant.kernels.matmul_mxfp4_bf16(&a, &c, 0, rows, y.start, rows)
        variant.kernels.matmul_bf16_bf16(&b, &c, 0, rows, z.start, rows)
        for t in 0..<tokens {
            for n in 0..<rows {
                var sums = (y: 0.0, z: 0.0, absolute: (y: 0.0, z: 0.0))
                for k in 0..<columns {
                    let u = Double(float(bfloat: x.values.start[t * columns + k]))
                    let products = (
                        y: u * mxfp4.value(n, k), z: u * Double(float(bfloat: dense.values.start[n * columns + k]))
                    )
                    sums.y += products.y
                    sums.z += products.z
                    sums.absolute.y += abs(products.y)
                    sums.absolute.z += abs(products.z)
                }
                #expect(abs(Double(y.start[t * rows + n]) - sums.y) <= 1e-6 * sums.absolute.y)
                #expect(abs(Double(z.start[t * rows + n]) - sums.z) <= 1e-6 * sums.absolute.z)
            }
        }
    }

    @Test("of a pair of bfloat16 columns the odd one is first; factors below 2^-56 are zero", arguments: Variant.all)
    func bfloat16Definition(variant: Variant) {
        func product(_ x: [Float], _ w: [Float]) -> Float {
            let rows = BF16Rows(x, rows: 1, columns: x.count)
            let matrix = BF16Matrix(
                w.map { UInt16($0.bitPattern >> 16) }, rows: 1, columns: w.count, bias: nil)
            let y = GuardedBuffer<Float>(repeating: 0, count: 1)
            var (a, b) = (matrix.c, rows.c)
            variant.kernels.matmul_bf16_bf16(&a, &b, 0, 1, y.start, 1)
            return y.start[0]
        }
        // 2^24 + 1 rounds to 2^24, to which 2 adds exactly; the other way round 2^24 + 3 rounds to 2^24 + 4.
        let padding = Array(repeating: Float(0), count: 31)
        #expect(product([0x1p12] + padding + [2, 1], [0x1p12] + padding + [1, 1]) == 0x1p24 + 2)
        #expect(product([0x1p-56, 0x1.fep-57], [0x1p-56, 0x1p56]) == 0x1p-112)
        #expect(product([0x1p-56, 0x1p56], [0x1p-56, 0x1.fep-57]) == 0x1p-112)
    }

    @Test("norm, rotation, SwiGLU and the router's sums", arguments: Variant.all)
    func elementwise(variant: Variant) {
        var random = SeededGenerator(seed: 34)
        let kernels = variant.kernels
        let count = 2880
        let x = GuardedBuffer(Values.ordinary.floats(count, &random).map { $0 * 9 })
        let weight = GuardedBuffer(Values.ordinary.bfloats(count, &random))
        let out = GuardedBuffer<Float>(repeating: 0, count: count)
        kernels.rms_norm(x.start, weight.start, 1e-5, count, out.start)
        let meanSquare = x.elements.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(count)
        for i in 0..<count {
            let expected =
                Double(x.start[i]) / (meanSquare + 1e-5).squareRoot() * Double(float(bfloat: weight.start[i]))
            #expect(abs(Double(out.start[i]) - expected) <= 1e-6 * abs(expected))
        }

        kernels.swiglu(x.start, count / 2, 7, 1.702, out.start)
        for i in 0..<count / 2 {
            let gate = min(Double(x.start[2 * i]), 7)
            let up = min(max(Double(x.start[2 * i + 1]), -7), 7)
            let expected = gate / (1 + exp(-1.702 * gate)) * (up + 1)
            #expect(abs(Double(out.start[i]) - expected) <= 2e-6 * (abs(expected) + 1e-3))
        }

        kernels.max_and_sum_exp(x.start, count, out.start, out.start + 1)
        let largest = x.elements.max() ?? 0
        let sum = x.elements.reduce(0.0) { $0 + exp(Double($1) - Double(largest)) }
        #expect(out.start[0] == largest && abs(Double(out.start[1]) - sum) <= 1e-6 * sum)

        let angle = GuardedBuffer<Float>((0..<32).map { Float($0) * 0.3 })
        let cosines = GuardedBuffer(angle.elements.map { cos($0) })
        let sines = GuardedBuffer(angle.elements.map { sin($0) })
        out.start.update(from: x.start, count: 64)
        kernels.rope(out.start, 1, 64, cosines.start, sines.start)
        for i in 0..<32 {
            let (a, b) = (Double(x.start[i]), Double(x.start[i + 32]))
            let (c, s) = (Double(cosines.start[i]), Double(sines.start[i]))
            #expect(abs(Double(out.start[i]) - (a * c - b * s)) < 3e-6)
            #expect(abs(Double(out.start[i + 32]) - (b * c + a * s)) < 3e-6)
        }
    }

    @Test("bfloat16 rounds to nearest even, and NaN stays NaN", arguments: Variant.all)
    func bfloat16(variant: Variant) {
        let cases: [(UInt32, UInt16)] = [
            (0x3f80_0000, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81),
            (0x0000_8000, 0x0000), (0x0000_8001, 0x0001), (0x7f7f_ffff, 0x7f80), (0xff80_0000, 0xff80),
            (0x7f80_0001, 0x7fc0), (0x8000_0000, 0x8000),
        ]
        let x = GuardedBuffer(cases.map { Float(bitPattern: $0.0) })
        let out = GuardedBuffer<UInt16>(repeating: 0, count: cases.count)
        variant.kernels.f32_to_bf16(x.start, cases.count, out.start)
        #expect(out.elements == cases.map(\.1))
    }
}
