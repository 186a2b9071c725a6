import Checkpoints

/// The memory that one forward pass works in, kept from step to step.
final class ForwardScratch {
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
    /// The segments' page tables, one behind the other.
    let pageTables = Scratch<UInt32>()
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
    /// The rows whose logits are wanted: [selected][hidden].
    let selected: Activations
    /// [selected][vocabulary]
    let logits = Scratch<Float>()

    init(config: ModelConfig) {
        hidden = Activations(columns: config.hiddenSize)
        normed = Activations(columns: config.hiddenSize)
        attended = Activations(columns: config.headCount * config.headDimension)
        selected = Activations(columns: config.hiddenSize)
    }

    func resize(rows: Int, _ config: ModelConfig, _ format: ExpertRowFormat) {
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
}
