import Checkpoints
import Kernels

/// The two matrices of each expert, by layer. MXFP4 is computed from where its source has it; an unquantised expert,
/// stored transposed, is turned (and in int8 precision quantised) the first time it is needed.
final class ExpertMatrices {
    struct Pair {
        let gateUp, down: Matrix
        /// Keeps the memory of both.
        fileprivate let owner: AnyObject
    }

    private let source: any ExpertSource
    private let config: ExpertConfig
    private let precision: Precision
    private let pool: ThreadPool
    /// Unquantised experts that were turned already, and their memory: [layer][expert].
    private var turned: [[(pair: Pair, memory: [Scratch<UInt16>])?]]

    init(source: any ExpertSource, precision: Precision, pool: ThreadPool) {
        self.source = source
        config = source.expertConfig
        self.precision = precision
        self.pool = pool
        turned = Array(
            repeating: Array(repeating: nil, count: config.expertCount), count: config.layerCount)
    }

    /// Nil while the source does not have the expert.
    func pair(layer: Int, expert: Int) -> Pair? {
        guard let parts = source.parts(layer: layer, expert: expert) else { return nil }
        let (hidden, intermediate) = (config.hiddenSize, config.intermediateSize)
        if let gateUp = mxfp4(parts.gateUp, rows: 2 * intermediate, columns: hidden),
            let down = mxfp4(parts.down, rows: hidden, columns: intermediate)
        {
            return Pair(gateUp: gateUp, down: down, owner: parts.owner)
        }
        if let known = turned[layer][expert], known.pair.owner === parts.owner { return known.pair }
        let gateUp = turn(parts.gateUp, rows: 2 * intermediate, columns: hidden)
        let down = turn(parts.down, rows: hidden, columns: intermediate)
        let pair = Pair(gateUp: gateUp.matrix, down: down.matrix, owner: parts.owner)
        turned[layer][expert] = (pair, [gateUp.memory, down.memory].compactMap { $0 })
        return pair
    }

    /// Nil for an unquantised matrix, which has no scales.
    private func mxfp4(_ part: ExpertParts.Part, rows: Int, columns: Int) -> Matrix? {
        part.scales.map { scales in
            .mxfp4(
                shoal_mxfp4_matrix(
                    blocks: part.weights.assumingMemoryBound(to: UInt8.self),
                    scales: scales.assumingMemoryBound(to: UInt8.self),
                    bias: part.bias.assumingMemoryBound(to: UInt16.self), rows: rows, columns: columns))
        }
    }

    /// An expert's [columns, rows] as a matrix [rows, columns].
    private func turn(
        _ part: ExpertParts.Part, rows: Int, columns: Int
    ) -> (matrix: Matrix, memory: Scratch<UInt16>?) {
        let source = part.weights.assumingMemoryBound(to: UInt16.self)
        let turned = Scratch<UInt16>(count: rows * columns)
        let bands = RowBands(rows: rows, count: pool.threads * 8)
        pool.run(bands.count) { index in
            for row in bands[index] {
                for column in 0..<columns { turned.base[row * columns + column] = source[column * rows + row] }
            }
        }
        let matrix = shoal_bf16_matrix(
            values: turned.base, bias: part.bias.assumingMemoryBound(to: UInt16.self), rows: rows, columns: columns)
        return precision == .int8 ? (.quantizing(matrix, pool), nil) : (.bf16(matrix), turned)
    }
}
