import Kernels

/// The forms in which a matrix takes its input rows.
enum RowForm {
    case float32
    /// int8 blocks: what experts take, and what travels to them; and the output head.
    case int8
    /// 16-bit blocks: what the attention's matrices take when held in int8.
    case int16
    /// bfloat16: what every large matrix takes in bf16 precision.
    case bf16
}

extension Precision {
    /// The form in which experts take their input.
    var expertForm: RowForm {
        switch self {
        case .int8: .int8
        case .bf16: .bf16
        case .exact: .float32
        }
    }
}

/// Input rows of a multiplication.
enum InputRows {
    case float32(shoal_f32_rows)
    case int8(shoal_q8_rows)
    case int16(shoal_q16_rows)
    case bf16(shoal_bf16_rows)
}

/// Rows of activations: float32 always, and beside them the form that the matrices they feed want.
final class Activations {
    let columns: Int
    private(set) var rows = 0
    private let floats = Scratch<Float>()
    private let high = Scratch<Int8>()
    private let low = Scratch<Int8>()
    private let scales = Scratch<UInt16>()
    private let halves = Scratch<UInt16>()

    init(columns: Int) {
        self.columns = columns
    }

    /// Blocks of 32 columns in a row, the last one padded.
    var blocks: Int { (columns + Int(SHOAL_BLOCK) - 1) / Int(SHOAL_BLOCK) }
    private var paddedColumns: Int { blocks * Int(SHOAL_BLOCK) }

    /// Holds `rows` rows from now on: with more than before, their contents are undefined.
    func resize(rows: Int) {
        self.rows = rows
        floats.reserve(rows * columns)
        high.reserve(rows * paddedColumns)
        low.reserve(rows * paddedColumns)
        scales.reserve(rows * blocks)
        halves.reserve(rows * paddedColumns)
    }

    /// One row in float32.
    func row(_ index: Int) -> UnsafeMutablePointer<Float> { floats.base + index * columns }
    private func int8Row(_ index: Int) -> UnsafeMutablePointer<Int8> { high.base + index * paddedColumns }
    private func bf16Row(_ index: Int) -> UnsafeMutablePointer<UInt16> { halves.base + index * paddedColumns }
    /// One row's scales.
    func scalesRow(_ index: Int) -> UnsafeMutablePointer<UInt16> { scales.base + index * blocks }
    /// One row's values as they travel to the experts; its scales, where the precision has some, beside them.
    func expertRow(_ index: Int, _ precision: Precision) -> UnsafeMutableRawPointer {
        switch precision {
        case .int8: UnsafeMutableRawPointer(int8Row(index))
        case .bf16: UnsafeMutableRawPointer(bf16Row(index))
        case .exact: UnsafeMutableRawPointer(row(index))
        }
    }
    /// All floats, row after row.
    var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: floats.base, count: rows * columns) }

    /// Brings one row's floats into a form.
    func convert(row index: Int, to form: RowForm, _ kernels: Kernels) {
        switch form {
        case .float32: break
        case .int8: kernels.pointee.quantize_q8(row(index), columns, int8Row(index), scalesRow(index))
        case .int16:
            kernels.pointee.quantize_q16(
                row(index), columns, int8Row(index), low.base + index * paddedColumns, scalesRow(index))
        case .bf16: kernels.pointee.quantize_bf16(row(index), columns, bf16Row(index))
        }
    }

    /// A range of rows in a form that they were brought into.
    func input(_ range: Range<Int>, _ form: RowForm) -> InputRows {
        let first = range.lowerBound
        switch form {
        case .float32:
            return .float32(shoal_f32_rows(values: row(first), rows: range.count, columns: columns))
        case .int8:
            return .int8(
                shoal_q8_rows(values: int8Row(first), scales: scalesRow(first), rows: range.count, blocks: blocks))
        case .int16:
            return .int16(
                shoal_q16_rows(
                    high: int8Row(first), low: low.base + first * paddedColumns, scales: scalesRow(first),
                    rows: range.count, blocks: blocks))
        case .bf16:
            return .bf16(shoal_bf16_rows(values: bf16Row(first), rows: range.count, blocks: blocks))
        }
    }
}
