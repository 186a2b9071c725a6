import Checkpoints

/// Rows that go through the layers together, and the memory they work in, kept from step to step. A step has one such
/// batch, or two, so that one can be at the experts while the other attends.
final class MicroBatch {
    /// The rows, and the tokens that they began with.
    private(set) var rows: [Row] = []
    private(set) var tokens: [Int32] = []
    /// The layer whose experts have this batch; nil when none have.
    var dispatchedLayer: Int?

    /// The residual stream: [rows][hidden].
    let hidden: Activations
    /// A normalised input: [rows][hidden].
    let normed: Activations
    /// Queries, keys and values: [rows][(heads + 2 * keyValueHeads) * headDimension].
    let projected = Scratch<Float>()
    /// The heads' results: [rows][heads * headDimension].
    let attended: Activations
    /// A block's output before it joins the residual stream: [rows][hidden].
    let blockOutput = Scratch<Float>()
    /// Softmax numerators, a part for each thread.
    let scores = Scratch<Float>()
    /// [rows][headDimension / 2]
    let cosines = Scratch<Float>()
    let sines = Scratch<Float>()
    /// [rows][experts]
    let routerLogits = Scratch<Float>()
    /// [rows][expertsPerToken]
    let chosen = Scratch<Int32>()
    let routingWeights = Scratch<Float>()
    let assignments = Scratch<ExpertAssignment>()
    /// [rows][expertsPerToken][format.outputBytes]
    let expertOutputs = Scratch<UInt8>()

    init(config: ModelConfig) {
        hidden = Activations(columns: config.hiddenSize)
        normed = Activations(columns: config.hiddenSize)
        attended = Activations(columns: config.headCount * config.headDimension)
    }

    /// Takes rows for a new step.
    func begin(_ rows: ArraySlice<Row>, _ tokens: ArraySlice<Int32>, _ config: ModelConfig, _ format: ExpertRowFormat) {
        self.rows.replaceSubrange(self.rows.indices, with: rows)
        self.tokens.replaceSubrange(self.tokens.indices, with: tokens)
        let rows = rows.count
        hidden.resize(rows: rows)
        normed.resize(rows: rows)
        attended.resize(rows: rows)
        projected.reserve(rows * (config.headCount + 2 * config.keyValueHeadCount) * config.headDimension)
        blockOutput.reserve(rows * config.hiddenSize)
        cosines.reserve(rows * config.headDimension / 2)
        sines.reserve(rows * config.headDimension / 2)
        routerLogits.reserve(rows * config.expertCount)
        chosen.reserve(rows * config.expertsPerToken)
        routingWeights.reserve(rows * config.expertsPerToken)
        assignments.reserve(rows * config.expertsPerToken)
        expertOutputs.reserve(rows * config.expertsPerToken * format.outputBytes)
    }

    /// Goes on with the rows alone whose logits are wanted; `width`: columns of `projected`. Behind the last layer's keys
    /// and values nothing depends on the others.
    func keepWanted(width: Int) {
        var kept = 0
        for row in rows.indices where rows[row].wantsLogits {
            if kept < row {
                hidden.row(kept).update(from: hidden.row(row), count: hidden.columns)
                (projected.base + kept * width).update(from: projected.base + row * width, count: width)
                rows[kept] = rows[row]
            }
            kept += 1
        }
        rows.removeLast(rows.count - kept)
        hidden.resize(rows: kept)
        normed.resize(rows: kept)
        attended.resize(rows: kept)
    }

    /// Lets go of the rows: the memory that they point to is the segments'.
    func end() {
        rows.removeAll(keepingCapacity: true)
        tokens.removeAll(keepingCapacity: true)
        dispatchedLayer = nil
    }
}
