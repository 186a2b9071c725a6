import Checkpoints
import Kernels

/// One or several matrices that take the same input, their outputs side by side: y = x Wᵀ + b.
struct Linear {
    private struct Part {
        let matrix: Matrix
        let bands: RowBands
        let firstBand: Int
        let firstColumn: Int
    }

    private let parts: [Part]
    private let bandCount: Int
    /// Columns of the input.
    let inputs: Int
    /// Columns of the output, all parts together.
    let outputs: Int
    /// The form in which it takes its input.
    let form: RowForm

    /// Weights of shape [outputs, inputs] in bfloat16, read in place or quantised now.
    init(_ tensors: [(weight: Tensor, bias: Tensor?)], weights: DenseWeights, pool: ThreadPool) {
        var (parts, firstBand, firstColumn) = ([Part](), 0, 0)
        for (weight, bias) in tensors {
            let source = shoal_bf16_matrix(
                values: weight.bf16Pointer, bias: bias?.bf16Pointer, rows: weight.shape[0], columns: weight.shape[1])
            let matrix = weights == .int8 ? Matrix.quantizing(source, pool) : .bf16(source)
            let bands = RowBands(rows: matrix.rows, count: pool.threads * 8)
            parts.append(Part(matrix: matrix, bands: bands, firstBand: firstBand, firstColumn: firstColumn))
            firstBand += bands.count
            firstColumn += matrix.rows
        }
        self.parts = parts
        bandCount = firstBand
        inputs = tensors[0].weight.shape[1]
        outputs = firstColumn
        form = weights == .int8 ? .int16 : .float32
    }

    /// Applies it to every row of `x`. `y`: [x.rows, outputs].
    func apply(to x: Activations, into y: UnsafeMutablePointer<Float>, _ kernels: Kernels, _ pool: ThreadPool) {
        let input = x.input(0..<x.rows, form)
        pool.run(bandCount) { index in
            guard let part = parts.last(where: { $0.firstBand <= index }) else { return }
            part.matrix.multiply(
                input, band: part.bands[index - part.firstBand], into: y + part.firstColumn, stride: outputs, kernels)
        }
    }
}
