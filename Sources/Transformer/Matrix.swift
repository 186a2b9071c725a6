import Checkpoints
import Kernels

/// A weight matrix [rows, columns] with its bias, in one of the layouts that a kernel reads.
enum Matrix {
    case bf16(shoal_bf16_matrix)
    case mxfp4(shoal_mxfp4_matrix)
    /// int8 blocks made while loading, and the memory that holds them.
    case int8(shoal_q8_matrix, values: Scratch<UInt8>, scales: Scratch<UInt16>)

    var rows: Int {
        switch self {
        case .bf16(let matrix): matrix.rows
        case .mxfp4(let matrix): matrix.rows
        case .int8(let matrix, _, _): matrix.rows
        }
    }

    /// A bfloat16 matrix in int8 blocks of 32 columns.
    static func quantizing(_ source: shoal_bf16_matrix, _ pool: ThreadPool) -> Matrix {
        let values = Scratch<UInt8>(count: shoal_q8_values_size(source.rows, source.columns))
        let scales = Scratch<UInt16>(count: shoal_q8_scales_size(source.rows, source.columns) / 2)
        let bands = RowBands(rows: source.rows, count: pool.threads * 8)
        pool.run(bands.count) { index in
            let band = bands[index]
            shoal_q8_pack(
                source.values, source.rows, source.columns, band.lowerBound, band.upperBound, values.base, scales.base)
        }
        let matrix = shoal_q8_matrix(
            values: values.base, scales: scales.base, bias: source.bias, rows: source.rows,
            blocks: (source.columns + Int(SHOAL_BLOCK) - 1) / Int(SHOAL_BLOCK))
        return .int8(matrix, values: values, scales: scales)
    }

    /// y[t * stride + n] for all rows t of x and the matrix's rows n in `band`. `x` is in a form the matrix takes:
    /// float32 or bf16 where it is bf16 or MXFP4, or int8 where it is MXFP4, or int8 or int16 where it is int8.
    func multiply(
        _ x: InputRows, band: Range<Int>, into y: UnsafeMutablePointer<Float>, stride: Int, _ kernels: Kernels
    ) {
        let (begin, end) = (band.lowerBound, band.upperBound)
        switch (self, x) {
        case (.bf16(var matrix), .float32(var rows)):
            kernels.pointee.matmul_bf16_f32(&matrix, &rows, begin, end, y, stride)
        case (.mxfp4(var matrix), .float32(var rows)):
            kernels.pointee.matmul_mxfp4_f32(&matrix, &rows, begin, end, y, stride)
        case (.bf16(var matrix), .bf16(var rows)):
            kernels.pointee.matmul_bf16_bf16(&matrix, &rows, begin, end, y, stride)
        case (.mxfp4(var matrix), .bf16(var rows)):
            kernels.pointee.matmul_mxfp4_bf16(&matrix, &rows, begin, end, y, stride)
        case (.mxfp4(var matrix), .int8(var rows)):
            kernels.pointee.matmul_mxfp4_q8(&matrix, &rows, begin, end, y, stride)
        case (.int8(var matrix, _, _), .int8(var rows)):
            kernels.pointee.matmul_q8_q8(&matrix, &rows, begin, end, y, stride)
        case (.int8(var matrix, _, _), .int16(var rows)):
            kernels.pointee.matmul_q8_q16(&matrix, &rows, begin, end, y, stride)
        default:
            preconditionFailure("no kernel multiplies \(self) with \(x)")
        }
    }
}

/// A matrix's rows in bands of whole tiles, a few for each thread so that none waits long for another, but not so small
/// that preparing the activations for each band would show.
struct RowBands {
    let rows: Int
    let bandRows: Int
    let count: Int

    /// Bands of about `bandRows` rows. Each begins without what the one before it would have fetched ahead.
    init(rows: Int, bandRows: Int) {
        let tile = Int(SHOAL_TILE_ROWS)
        self.rows = rows
        self.bandRows = max(4 * tile, (bandRows + tile - 1) / tile * tile)
        count = (rows + self.bandRows - 1) / self.bandRows
    }

    /// About as many bands as `count`.
    init(rows: Int, count: Int) {
        self.init(rows: rows, bandRows: rows / max(1, count))
    }

    subscript(index: Int) -> Range<Int> { index * bandRows..<min(rows, (index + 1) * bandRows) }
}
