import Kernels
import TestSupport
import Testing

@Suite("Matrix products")
struct MatmulTests {
    /// A matrix product to try: the rows handed to the kernel begin at a tile.
    struct Shape: CustomStringConvertible {
        let tokens: Int, rows: Int, columns: Int, range: Range<Int>, stride: Int
        var description: String { "T=\(tokens) N=\(rows) K=\(columns) rows \(range)" }
        var blocks: Int { (columns + 31) / 32 }

        static func random(columnsStep: Int, _ random: inout SeededGenerator) -> Shape {
            let rows = Int.random(in: 1...70, using: &random)
            let begin = Int.random(in: 0...(rows - 1) / 16, using: &random) * 16
            return Shape(
                tokens: .random(in: 1...40, using: &random), rows: rows,
                columns: columnsStep * Int.random(in: 1...(columnsStep == 1 ? 700 : 24), using: &random),
                range: begin..<Int.random(in: begin + 1...rows, using: &random),
                stride: rows + Int.random(in: 0...3, using: &random))
        }

        /// A bias, or none.
        func bias(_ random: inout SeededGenerator) -> [UInt16]? {
            Bool.random(using: &random) ? Values.ordinary.bfloats(rows, &random) : nil
        }

        /// The floats quantised; where wide values are wanted, whatever int8 blocks can hold.
        func q8Rows(
            _ floats: [Float], _ values: Values, least: Int8 = -127, _ random: inout SeededGenerator
        ) -> Q8Rows {
            values == .wide
                ? Q8Rows(extremeRows: tokens, blocks: blocks, least: least, &random)
                : Q8Rows(floats, rows: tokens, columns: columns)
        }
    }

    /// Multiplies the rows from `begin` to `end` of some matrix with some activations.
    private typealias Product = (
        _ kernels: shoal_kernels, _ begin: Int, _ end: Int, _ y: UnsafeMutablePointer<Float>, _ stride: Int
    ) -> Void

    /// Compares the variant's products with the scalar ones, for random shapes and all kinds of values. `products` makes
    /// the operands.
    private func expectScalarBits(
        _ variant: Variant, columnsStep: Int, seed: UInt64,
        _ products: (Shape, Values, inout SeededGenerator) -> [Product]
    ) {
        var random = SeededGenerator(seed: seed)
        func check(_ shape: Shape, _ values: Values) {
            let found = products(shape, values, &random).map { product in
                difference(variant, count: shape.tokens * shape.stride) { kernels, y in
                    product(kernels, shape.range.lowerBound, shape.range.upperBound, y, shape.stride)
                }
            }
            #expect(found.allSatisfy { $0 == nil }, "\(shape), \(values), \(found)")
        }
        for values in Values.allCases {
            for _ in 0..<12 { check(.random(columnsStep: columnsStep, &random), values) }
        }
        // More tokens and more columns than one slice of the activations holds.
        for (tokens, columns) in [(97, 1120), (102, 2880), (100, 3104), (130, 96), (14, 22016), (5, 66560)] {
            check(Shape(tokens: tokens, rows: 19, columns: columns, range: 0..<19, stride: 19), .ordinary)
        }
        // Few tokens have a way of their own through long rows in whole tiles, also where groups of blocks overlap.
        for tokens in 1...9 {
            for columns in [512, 544, 640, 736, 992, 2880, 3104, 8224] {
                let values = Values.allCases.randomElement(using: &random) ?? .ordinary
                check(Shape(tokens: tokens, rows: 48, columns: columns, range: 16..<48, stride: 48), values)
            }
        }
    }

    @Test("MXFP4 by int8, bfloat16 and float32 equals the scalar product bit for bit", arguments: Variant.vectorised)
    func mxfp4(variant: Variant) {
        expectScalarBits(variant, columnsStep: 32, seed: 1) { shape, values, random in
            let w = MXFP4Matrix(
                rows: shape.rows, columns: shape.columns, anyScale: values != .ordinary,
                bias: .random(using: &random), &random)
            let floats = values.floats(shape.tokens * shape.columns, &random)
            let narrow = shape.q8Rows(floats, values, least: -128, &random)
            let halves = BF16Rows(floats, rows: shape.tokens, columns: shape.columns)
            let wide = F32Rows(floats, rows: shape.tokens, columns: shape.columns)
            return [
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, narrow.c)
                    kernels.matmul_mxfp4_q8(&w, &x, begin, end, y, stride)
                },
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, halves.c)
                    kernels.matmul_mxfp4_bf16(&w, &x, begin, end, y, stride)
                },
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, wide.c)
                    kernels.matmul_mxfp4_f32(&w, &x, begin, end, y, stride)
                },
            ]
        }
    }

    @Test("int8 by int8 and by 16 bits equals the scalar product bit for bit", arguments: Variant.vectorised)
    func q8(variant: Variant) {
        expectScalarBits(variant, columnsStep: 1, seed: 2) { shape, values, random in
            let isExtreme = values == .wide
            let w =
                isExtreme
                ? Q8Matrix(anyRows: shape.rows, blocks: shape.blocks, &random)
                : Q8Matrix(
                    values.bfloats(shape.rows * shape.columns, &random), rows: shape.rows, columns: shape.columns,
                    bias: shape.bias(&random))
            let floats = values.floats(shape.tokens * shape.columns, &random)
            let narrow = shape.q8Rows(floats, values, &random)
            let wide =
                isExtreme
                ? Q16Rows(extremeRows: shape.tokens, blocks: shape.blocks, &random)
                : Q16Rows(floats, rows: shape.tokens, columns: shape.columns)
            return [
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, narrow.c)
                    kernels.matmul_q8_q8(&w, &x, begin, end, y, stride)
                },
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, wide.c)
                    kernels.matmul_q8_q16(&w, &x, begin, end, y, stride)
                },
            ]
        }
    }

    @Test("bfloat16 by bfloat16 and by float32 equals the scalar product bit for bit", arguments: Variant.vectorised)
    func bf16(variant: Variant) {
        expectScalarBits(variant, columnsStep: 1, seed: 4) { shape, values, random in
            let w = BF16Matrix(
                values.bfloats(shape.rows * shape.columns, &random), rows: shape.rows, columns: shape.columns,
                bias: shape.bias(&random))
            let floats = values.floats(shape.tokens * shape.columns, &random)
            let halves = BF16Rows(floats, rows: shape.tokens, columns: shape.columns)
            let wide = F32Rows(floats, rows: shape.tokens, columns: shape.columns)
            return [
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, halves.c)
                    kernels.matmul_bf16_bf16(&w, &x, begin, end, y, stride)
                },
                { kernels, begin, end, y, stride in
                    var (w, x) = (w.c, wide.c)
                    kernels.matmul_bf16_f32(&w, &x, begin, end, y, stride)
                },
            ]
        }
    }

    @Test("sums that underflowed to -0 stay so when the last vector is partial", arguments: Variant.vectorised)
    func negativeZero(variant: Variant) {
        let w = BF16Matrix(Array(repeating: 0x0d80, count: 20), rows: 1, columns: 20, bias: nil)  // 2^-100
        let x = F32Rows(Array(repeating: -0x1p-100, count: 20), rows: 1, columns: 20)
        let found = difference(variant, count: 1) { kernels, y in
            var (w, x) = (w.c, x.c)
            kernels.matmul_bf16_f32(&w, &x, 0, 1, y, 1)
            if variant.isa == kernels.isa { #expect(y[0].sign == .minus && y[0] == 0) }
        }
        #expect(found == nil)
    }

    @Test("a row's result does not depend on the rows beside it", arguments: Variant.all)
    func batchInvariance(variant: Variant) {
        var random = SeededGenerator(seed: 5)
        let (tokens, rows, columns) = (23, 48, 2880)
        let floats = Values.ordinary.floats(tokens * columns, &random)
        let w = MXFP4Matrix(rows: rows, columns: columns, anyScale: false, bias: true, &random)
        let int8 = { (floats: [Float], tokens: Int, begin: Int, end: Int, y: UnsafeMutablePointer<Float>) in
            let x = Q8Rows(floats, rows: tokens, columns: columns)
            var (matrix, rowsOfX) = (w.c, x.c)
            variant.kernels.matmul_mxfp4_q8(&matrix, &rowsOfX, begin, end, y, rows)
        }
        let bf16 = { (floats: [Float], tokens: Int, begin: Int, end: Int, y: UnsafeMutablePointer<Float>) in
            let x = BF16Rows(floats, rows: tokens, columns: columns)
            var (matrix, rowsOfX) = (w.c, x.c)
            variant.kernels.matmul_mxfp4_bf16(&matrix, &rowsOfX, begin, end, y, rows)
        }
        for multiply in [int8, bf16] {
            let together = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
            let alone = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
            multiply(floats, tokens, 0, rows, together.start)
            for token in 0..<tokens {
                let row = Array(floats[token * columns..<(token + 1) * columns])
                for begin in stride(from: 0, to: rows, by: 16) {
                    multiply(row, 1, begin, begin + 16, alone.start + token * rows)
                }
            }
            #expect(firstDifference(together, alone) == nil)
        }
    }
}
