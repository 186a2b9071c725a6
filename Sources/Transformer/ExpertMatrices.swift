import Checkpoints
import Kernels
import Synchronization

/// The two matrices of each expert, by layer. MXFP4 is computed from where the checkpoint is mapped; an unquantised
/// expert, stored transposed, is turned (and in int8 precision quantised) the first time it is needed.
final class ExpertMatrices {
    typealias Pair = (gateUp: Matrix, down: Matrix)

    private let layers: [LayerTensors]
    private let config: ModelConfig
    private let precision: Precision
    private let pool: ThreadPool
    /// Unquantised experts that were turned already, and their memory: [layer][expert].
    private var turned: [[(pair: Pair, memory: [Scratch<UInt16>])?]]

    init(checkpoint: Checkpoint, precision: Precision, pool: ThreadPool) {
        layers = checkpoint.layers
        config = checkpoint.config
        self.precision = precision
        self.pool = pool
        turned = Array(
            repeating: Array(repeating: nil, count: checkpoint.config.expertCount), count: checkpoint.config.layerCount)
    }

    func pair(layer: Int, expert: Int) -> Pair {
        switch layers[layer].experts {
        case .mxfp4(let gateUpBlocks, let gateUpScales, let gateUpBias, let downBlocks, let downScales, let downBias):
            return (
                mxfp4(gateUpBlocks, gateUpScales, gateUpBias, expert), mxfp4(downBlocks, downScales, downBias, expert)
            )
        case .bf16(let gateUp, let gateUpBias, let down, let downBias):
            if let known = turned[layer][expert] { return known.pair }
            let first = turn(gateUp, gateUpBias, expert)
            let second = turn(down, downBias, expert)
            let pair = (gateUp: first.matrix, down: second.matrix)
            turned[layer][expert] = (pair, [first.memory, second.memory].compactMap { $0 })
            return pair
        }
    }

    private func mxfp4(_ blocks: Tensor, _ scales: Tensor, _ bias: Tensor, _ expert: Int) -> Matrix {
        let (rows, groups) = (blocks.shape[1], blocks.shape[2])
        return .mxfp4(
            shoal_mxfp4_matrix(
                blocks: blocks.bytePointer + expert * rows * groups * Int(SHOAL_BLOCK) / 2,
                scales: scales.bytePointer + expert * rows * groups, bias: bias.bf16Pointer + expert * rows,
                rows: rows, columns: groups * Int(SHOAL_BLOCK)))
    }

    /// Expert `expert` of a [experts, in, out] tensor as a matrix [out, in].
    private func turn(
        _ tensor: Tensor, _ bias: Tensor, _ expert: Int
    ) -> (matrix: Matrix, memory: Scratch<UInt16>?) {
        let (inputs, outputs) = (tensor.shape[1], tensor.shape[2])
        let source = tensor.bf16Pointer + expert * inputs * outputs
        let rows = Scratch<UInt16>(count: inputs * outputs)
        let bands = RowBands(rows: outputs, count: pool.threads * 8)
        pool.run(bands.count) { index in
            for output in bands[index] {
                for input in 0..<inputs { rows.base[output * inputs + input] = source[input * outputs + output] }
            }
        }
        let matrix = shoal_bf16_matrix(
            values: rows.base, bias: bias.bf16Pointer + expert * outputs, rows: outputs, columns: inputs)
        return precision == .int8 ? (.quantizing(matrix, pool), nil) : (.bf16(matrix), rows)
    }
}
