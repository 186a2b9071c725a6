public import Checkpoints
import Kernels

/// How the attention's and the output head's weights are held in int8 precision.
public enum DenseWeights: String, Sendable, CaseIterable {
    /// Quantised to int8 blocks while loading.
    case int8
    /// As the checkpoint has them, computed with float32 activations.
    case bf16
}

/// Which positions of a segment the output head is applied to.
public enum LogitsSelection: Sendable { case none, last, all }

/// Consecutive tokens of one sequence, following what its cache holds. Ids are within the vocabulary.
public struct Segment {
    /// The sequence's cache; a batch holds no cache twice.
    public var cache: KVCache
    /// At least one.
    public var tokens: [Int32]
    /// Which logits are wanted.
    public var logits: LogitsSelection

    /// A segment for a batch.
    public init(cache: KVCache, tokens: [Int32], logits: LogitsSelection) {
        self.cache = cache
        self.tokens = tokens
        self.logits = logits
    }
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

    private let checkpoint: Checkpoint  // keeps the mapped tensors alive
    let embedding: UnsafePointer<UInt16>  // [vocabulary, hidden]
    let layers: [Layer]
    let finalNorm: UnsafePointer<UInt16>  // [hidden]
    let outputHead: Linear
    let rotary: RotaryEmbedding
    package let kernels: Kernels
    let pool: ThreadPool
    let scratch: ForwardScratch

    /// Prepares the weights: in int8 precision, attention and output head are quantised, unless `denseWeights` keeps
    /// them. `threads` counts the caller's own; `progress` is told fractions from 0 to 1.
    /// - Throws: ``ModelError``.
    public init(
        checkpoint: Checkpoint, precision: Precision, denseWeights: DenseWeights = .int8, threads: Int,
        progress: ((Double) -> Void)? = nil
    ) throws {
        let config = checkpoint.config
        try KVCache.check(config)
        let pool = try ThreadPool(threads: threads)
        let dense = precision == .exact ? .bf16 : denseWeights
        self.checkpoint = checkpoint
        self.config = config
        self.precision = precision
        self.pool = pool
        kernels = try selectedKernels()
        rotary = RotaryEmbedding(config: config)
        scratch = ForwardScratch(config: config)
        embedding = checkpoint.embedding.bf16Pointer
        finalNorm = checkpoint.finalNorm.bf16Pointer
        outputHead = Linear([(checkpoint.outputHead, nil)], weights: dense, pool: pool)
        layers = checkpoint.layers.enumerated().map { index, tensors in
            progress?(Double(index) / Double(config.layerCount))
            return Layer(
                inputNorm: tensors.inputNorm.bf16Pointer, postAttentionNorm: tensors.postAttentionNorm.bf16Pointer,
                attention: Attention(
                    layer: index,
                    queryKeyValue: Linear(
                        [
                            (tensors.queryWeight, tensors.queryBias), (tensors.keyWeight, tensors.keyBias),
                            (tensors.valueWeight, tensors.valueBias),
                        ], weights: dense, pool: pool),
                    output: Linear([(tensors.outputWeight, tensors.outputBias)], weights: dense, pool: pool),
                    sinks: tensors.sinks.bf16Pointer,
                    window: config.layerTypes[index] == .slidingAttention ? config.slidingWindow : nil),
                router: Router(
                    // A small matrix on which every expert choice hangs: never quantised.
                    linear: Linear([(tensors.routerWeight, tensors.routerBias)], weights: .bf16, pool: pool),
                    expertsPerToken: config.expertsPerToken))
        }
        progress?(1)
    }

    /// An empty cache for a sequence of this model.
    public func makeCache() -> KVCache { KVCache(config: config, precision: precision) }

    /// The same threads for experts computed in this process, between the layers' other work.
    public func makeLocalExperts() -> LocalExperts {
        LocalExperts(checkpoint: checkpoint, precision: precision, pool: pool, kernels: kernels)
    }
}
