import Kernels
import TestSupport

/// Activations in int8 blocks.
struct Q8Rows {
    let values: GuardedBuffer<Int8>
    let scales: GuardedBuffer<UInt16>
    let rows: Int, blocks: Int

    /// Quantises rows of floats with the scalar kernel.
    init(_ floats: [Float], rows: Int, columns: Int) {
        self.rows = rows
        blocks = (columns + 31) / 32
        values = GuardedBuffer(repeating: 0, count: rows * blocks * 32)
        scales = GuardedBuffer(repeating: 0, count: rows * blocks)
        for row in 0..<rows {
            Array(floats[row * columns..<(row + 1) * columns]).withUnsafeBufferPointer { x in
                guard let x = x.baseAddress else { return }
                Variant.scalar.kernels.quantize_q8(
                    x, columns, values.start + row * blocks * 32, scales.start + row * blocks)
            }
        }
    }

    /// Values of the largest magnitude, with any scales.
    /// - Parameter least: by default what quantisation yields; experts may be sent one less.
    init(extremeRows rows: Int, blocks: Int, least: Int8 = -127, _ random: inout SeededGenerator) {
        self.rows = rows
        self.blocks = blocks
        values = GuardedBuffer((0..<rows * blocks * 32).map { _ in Bool.random(using: &random) ? 127 : least })
        scales = GuardedBuffer(Values.wide.bfloats(rows * blocks, &random))
    }

    var c: shoal_q8_rows { shoal_q8_rows(values: values.start, scales: scales.start, rows: rows, blocks: blocks) }
}

/// Activations in 16-bit blocks.
struct Q16Rows {
    let high: GuardedBuffer<Int8>, low: GuardedBuffer<Int8>
    let scales: GuardedBuffer<UInt16>
    let rows: Int, blocks: Int

    /// Quantises rows of floats with the scalar kernel.
    init(_ floats: [Float], rows: Int, columns: Int) {
        self.rows = rows
        blocks = (columns + 31) / 32
        high = GuardedBuffer(repeating: 0, count: rows * blocks * 32)
        low = GuardedBuffer(repeating: 0, count: rows * blocks * 32)
        scales = GuardedBuffer(repeating: 0, count: rows * blocks)
        for row in 0..<rows {
            Array(floats[row * columns..<(row + 1) * columns]).withUnsafeBufferPointer { x in
                guard let x = x.baseAddress else { return }
                let start = row * blocks * 32
                Variant.scalar.kernels.quantize_q16(
                    x, columns, high.start + start, low.start + start, scales.start + row * blocks)
            }
        }
    }

    /// Values of the largest magnitude in both planes, with any scales.
    init(extremeRows rows: Int, blocks: Int, _ random: inout SeededGenerator) {
        let planes = Q8Rows(extremeRows: rows * 2, blocks: blocks, &random).values.elements
        self.rows = rows
        self.blocks = blocks
        high = GuardedBuffer(Array(planes.prefix(rows * blocks * 32)))
        low = GuardedBuffer(Array(planes.suffix(rows * blocks * 32)))
        scales = GuardedBuffer(Values.wide.bfloats(rows * blocks, &random))
    }

    var c: shoal_q16_rows {
        shoal_q16_rows(high: high.start, low: low.start, scales: scales.start, rows: rows, blocks: blocks)
    }
}

/// Activations in bfloat16.
struct BF16Rows {
    let values: GuardedBuffer<UInt16>
    let rows: Int, blocks: Int

    /// Rounds rows of floats with the scalar kernel.
    init(_ floats: [Float], rows: Int, columns: Int) {
        self.rows = rows
        blocks = (columns + 31) / 32
        values = GuardedBuffer(repeating: 0, count: rows * blocks * 32)
        for row in 0..<rows {
            Array(floats[row * columns..<(row + 1) * columns]).withUnsafeBufferPointer { x in
                guard let x = x.baseAddress else { return }
                Variant.scalar.kernels.quantize_bf16(x, columns, values.start + row * blocks * 32)
            }
        }
    }

    var c: shoal_bf16_rows { shoal_bf16_rows(values: values.start, rows: rows, blocks: blocks) }
}

struct F32Rows {
    let values: GuardedBuffer<Float>
    let rows: Int, columns: Int

    init(_ floats: [Float], rows: Int, columns: Int) {
        values = GuardedBuffer(floats)
        self.rows = rows
        self.columns = columns
    }

    var c: shoal_f32_rows { shoal_f32_rows(values: values.start, rows: rows, columns: columns) }
}

struct MXFP4Matrix {
    let blocks: GuardedBuffer<UInt8>, scales: GuardedBuffer<UInt8>
    let bias: GuardedBuffer<UInt16>?
    let rows: Int, columns: Int

    init(blocks: [UInt8], scales: [UInt8], bias: [UInt16]? = nil, rows: Int, columns: Int) {
        self.blocks = GuardedBuffer(blocks)
        self.scales = GuardedBuffer(scales)
        self.bias = bias.map { GuardedBuffer($0) }
        self.rows = rows
        self.columns = columns
    }

    /// Any codes; scales around one, or of any value.
    init(rows: Int, columns: Int, anyScale: Bool, bias: Bool, _ random: inout SeededGenerator) {
        let scales = bytes(rows * columns / 32, &random).map { anyScale ? $0 : 120 + $0 % 8 }
        self.init(
            blocks: bytes(rows * columns / 2, &random), scales: scales,
            bias: bias ? Values.ordinary.bfloats(rows, &random) : nil, rows: rows, columns: columns)
    }

    var c: shoal_mxfp4_matrix {
        shoal_mxfp4_matrix(
            blocks: blocks.start, scales: scales.start, bias: bias.map { UnsafePointer($0.start) }, rows: rows,
            columns: columns)
    }

    /// Column `column` of row `row`, computed from the format's definition.
    func value(_ row: Int, _ column: Int) -> Double {
        let index = row * columns + column
        let code = Int(blocks.start[index / 2] >> (index % 2 * 4)) & 15
        let magnitude = [0, 0.5, 1, 1.5, 2, 3, 4, 6][code & 7]
        let power = Double(sign: .plus, exponent: Int(scales.start[index / 32]) - 127, significand: 1)
        return (code & 8 == 0 ? magnitude : -magnitude) * power
    }
}

struct Q8Matrix {
    let values: GuardedBuffer<UInt8>, scales: GuardedBuffer<UInt16>
    let bias: GuardedBuffer<UInt16>?
    let rows: Int, blocks: Int

    /// Packs a bfloat16 matrix.
    init(_ matrix: [UInt16], rows: Int, columns: Int, bias: [UInt16]?) {
        self.rows = rows
        blocks = (columns + 31) / 32
        values = GuardedBuffer(repeating: 7, count: shoal_q8_values_size(rows, columns))
        scales = GuardedBuffer(repeating: 7, count: shoal_q8_scales_size(rows, columns) / 2)
        self.bias = bias.map { GuardedBuffer($0) }
        matrix.withUnsafeBufferPointer { matrix in
            guard let matrix = matrix.baseAddress else { return }
            shoal_q8_pack(matrix, rows, columns, 0, rows, values.start, scales.start)
        }
    }

    /// Any bytes at all.
    init(anyRows rows: Int, blocks: Int, _ random: inout SeededGenerator) {
        self.rows = rows
        self.blocks = blocks
        let padded = (rows + 15) / 16 * 16
        let extremes: [UInt8] = [0, 1, 127, 128, 129, 255]
        values = GuardedBuffer(
            bytes(padded * blocks * 32, &random).map { $0 < 128 ? extremes[Int($0) % 6] : $0 &* 2 })
        scales = GuardedBuffer(Values.special.bfloats(padded * blocks, &random))
        bias = nil
    }

    var c: shoal_q8_matrix {
        shoal_q8_matrix(
            values: values.start, scales: scales.start, bias: bias.map { UnsafePointer($0.start) }, rows: rows,
            blocks: blocks)
    }
}

struct BF16Matrix {
    let values: GuardedBuffer<UInt16>
    let bias: GuardedBuffer<UInt16>?
    let rows: Int, columns: Int

    init(_ values: [UInt16], rows: Int, columns: Int, bias: [UInt16]?) {
        self.values = GuardedBuffer(values)
        self.bias = bias.map { GuardedBuffer($0) }
        self.rows = rows
        self.columns = columns
    }

    var c: shoal_bf16_matrix {
        shoal_bf16_matrix(
            values: values.start, bias: bias.map { UnsafePointer($0.start) }, rows: rows, columns: columns)
    }
}
