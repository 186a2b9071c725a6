public import Checkpoints
import Kernels

/// How the attention's and the output head's weights are held in int8 precision.
public enum DenseWeights: String, Sendable, CaseIterable {
    /// Quantised to int8 blocks while loading.
    case int8
    /// As the checkpoint has them, computed with float32 activations.
    case bf16
}

/// gpt-oss: everything but the experts, which it reaches through an ``ExpertExecutor``. Not Sendable: it has scratch
/// memory, so one thread at a time.
public final class Transformer {
    /// The model's dimensions.
    public let config: ModelConfig
    /// The arithmetic it runs in.
    public let precision: Precision
    /// Sees the inside of each forward pass.
    public weak var observer: (any ForwardObserver)?

    struct Layer {
        let inputNorm, postAttentionNorm: UnsafePointer<UInt16>  // [hidden]
        let attention: Attention
        let router: Router
    }

    let checkpoint: Checkpoint  // keeps the mapped tensors alive
    let embedding: UnsafePointer<UInt16>  // [vocabulary, hidden]
    let layers: [Layer]
    let finalNorm: UnsafePointer<UInt16>  // [hidden]
    let outputHead: Linear
    let rotary: RotaryEmbedding
    package let kernels: Kernels
    let pool: ThreadPool
    /// A step's rows, and what they are computed in. ``microBatches`` are those of the two that this step has.
    let bothMicroBatches: [MicroBatch]
    var microBatches: ArraySlice<MicroBatch> = []
    var overlap = OverlapPolicy()
    /// How many of a step's rows go first, at least one and at most all, in place of what measuring would decide: for
    /// tests and measurements.
    package var firstMicroBatch: ((_ rows: Int) -> Int)?
    /// The page tables of all segments of a step, one behind the other.
    let pageTables = Scratch<UInt32>()
    /// The rows whose logits are wanted: [selected][hidden].
    let selected: Activations
    /// [selected][vocabulary]
    let logits = Scratch<Float>()
    /// Of the last forward pass, how long the final norm and the output head took.
    public internal(set) var outputHeadTime = Duration.zero

    /// Prepares the weights: in int8 precision, attention and output head are quantised, unless `denseWeights` keeps
    /// them. `threads` counts the caller's own; `progress` is told fractions from 0 to 1.
    /// - Throws: ``ModelError``.
    public init(
        checkpoint: Checkpoint, precision: Precision, denseWeights: DenseWeights = .int8, threads: Int,
        progress: ((Double) -> Void)? = nil
    ) throws {
        let config = checkpoint.config
        try KVLayout.check(config)
        let pool = try ThreadPool(threads: threads)
        // Queries and keys decide which tokens are seen: there an error grows. What attention puts out is added to a sum,
        // as the experts' outputs are, and behind the output head nothing follows.
        let (queryKeyValueForm, outputForm): (RowForm, RowForm) =
            switch (precision, denseWeights) {
            case (.int8, .int8): (.int16, .int8)
            case (.bf16, _): (.bf16, .bf16)
            case (.int8, .bf16), (.exact, _): (.float32, .float32)
            }
        self.checkpoint = checkpoint
        self.config = config
        self.precision = precision
        self.pool = pool
        kernels = try selectedKernels()
        rotary = RotaryEmbedding(config: config)
        bothMicroBatches = [MicroBatch(config: config), MicroBatch(config: config)]
        selected = Activations(columns: config.hiddenSize)
        embedding = checkpoint.embedding.bf16Pointer
        finalNorm = checkpoint.finalNorm.bf16Pointer
        outputHead = Linear([(checkpoint.outputHead, nil)], form: outputForm, pool: pool)
        var layersOfKind: [ModelConfig.LayerType: Int] = [:]
        layers = checkpoint.layers.enumerated().map { index, tensors in
            let kind = config.layerTypes[index]
            defer { layersOfKind[kind, default: 0] += 1 }
            progress?(Double(index) / Double(config.layerCount))
            return Layer(
                inputNorm: tensors.inputNorm.bf16Pointer, postAttentionNorm: tensors.postAttentionNorm.bf16Pointer,
                attention: Attention(
                    layer: index, indexInPages: layersOfKind[kind, default: 0],
                    queryKeyValue: Linear(
                        [
                            (tensors.queryWeight, tensors.queryBias), (tensors.keyWeight, tensors.keyBias),
                            (tensors.valueWeight, tensors.valueBias),
                        ], form: queryKeyValueForm, pool: pool),
                    output: Linear([(tensors.outputWeight, tensors.outputBias)], form: outputForm, pool: pool),
                    sinks: tensors.sinks.bf16Pointer,
                    window: kind == .slidingAttention ? config.slidingWindow : nil),
                router: Router(
                    // A small matrix on which every expert choice hangs: never quantised.
                    linear: Linear([(tensors.routerWeight, tensors.routerBias)], form: .float32, pool: pool),
                    expertsPerToken: config.expertsPerToken))
        }
        progress?(1)
    }

    /// The same threads for experts computed in this process, between the layers' other work.
    public func makeLocalExperts() -> LocalExperts {
        LocalExperts(checkpoint, precision: precision, pool: pool, kernels: kernels)
    }
}
