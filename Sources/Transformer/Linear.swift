import Checkpoints
import Kernels

/// One or several matrices that take the same input, their outputs side by side: y = x Wᵀ + b.
struct Linear {
    private struct Part {
        let matrix: Matrix
        let firstColumn: Int
    }

    private let parts: [Part]
    /// Columns of the input.
    let inputs: Int
    /// Columns of the output, all parts together.
    let outputs: Int
    /// The form in which it takes its input.
    let form: RowForm

    /// Weights of shape [outputs, inputs] in bfloat16: quantised now where they take int8 or int16 rows, otherwise read
    /// in place.
    init(_ tensors: [(weight: Tensor, bias: Tensor?)], form: RowForm, pool: ThreadPool) {
        var (parts, firstColumn) = ([Part](), 0)
        for (weight, bias) in tensors {
            let source = shoal_bf16_matrix(
                values: weight.bf16Pointer, bias: bias?.bf16Pointer, rows: weight.shape[0], columns: weight.shape[1])
            let matrix = form == .int8 || form == .int16 ? Matrix.quantizing(source, pool) : .bf16(source)
            parts.append(Part(matrix: matrix, firstColumn: firstColumn))
            firstColumn += matrix.rows
        }
        self.parts = parts
        inputs = tensors[0].weight.shape[1]
        outputs = firstColumn
        self.form = form
    }

    /// Applies it to every row of `x`. `y`: [x.rows, outputs].
    func apply(to x: Activations, into y: UnsafeMutablePointer<Float>, _ kernels: Kernels, _ pool: ThreadPool) {
        let input = x.input(0..<x.rows, form)
        // Each band prepares the activations anew, which costs the more the more of them there are.
        let bandRows = outputs / (pool.threads * (x.rows < 16 ? 16 : 4))
        let bandCount = parts.reduce(0) { $0 + RowBands(rows: $1.matrix.rows, bandRows: bandRows).count }
        pool.run(bandCount) { index in
            var index = index
            for part in parts {
                let bands = RowBands(rows: part.matrix.rows, bandRows: bandRows)
                guard index >= bands.count else {
                    return part.matrix.multiply(
                        input, band: bands[index], into: y + part.firstColumn, stride: outputs, kernels)
                }
                index -= bands.count
            }
        }
    }
}
