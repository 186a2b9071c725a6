/// gpt-oss's dimensions, as `config.json` states them. No dimension is a constant in code.
public struct ModelConfig: Sendable, Equatable {
    /// How a layer attends.
    public enum LayerType: String, Sendable {
        /// To the last ``ModelConfig/slidingWindow`` positions, its own included.
        case slidingAttention = "sliding_attention"
        /// To every position up to its own.
        case fullAttention = "full_attention"
    }

    /// How the experts' matrices are stored.
    public enum ExpertFormat: String, Sendable, CaseIterable {
        /// Blocks of 32 E2M1 codes with one E8M0 scale: OCP Microscaling 1.0, and `quant_method` "mxfp4".
        case mxfp4
        /// Unquantised and transposed, where there is no `quantization_config`.
        case bf16
    }

    /// YaRN (arXiv 2309.00071), as `rope_scaling` or `rope_parameters` describe it.
    public struct RoPE: Sendable, Equatable {
        /// The base of the rotation frequencies.
        public var theta: Double
        /// How many times longer than ``originalMaxPositions`` the context became.
        public var factor: Double
        /// Dimensions that turn more often than this over the original context keep their frequency.
        public var betaFast: Double
        /// Dimensions that turn less often than this over the original context are interpolated in full.
        public var betaSlow: Double
        /// Positions of the context before it was stretched.
        public var originalMaxPositions: Int
        /// Whether the two bounds of the ramp are rounded to whole dimensions.
        public var truncate: Bool
    }

    /// Rows of the embedding and of the output head; more than the tokenizer's ids where rows were padded.
    public var vocabularySize: Int
    /// Width of the residual stream.
    public var hiddenSize: Int
    /// Width inside an expert, after SwiGLU.
    public var intermediateSize: Int
    /// One entry a layer, the first layer first.
    public var layerTypes: [LayerType]
    /// Query heads.
    public var headCount: Int
    /// Heads of keys and values; each serves ``headCount`` / ``keyValueHeadCount`` query heads.
    public var keyValueHeadCount: Int
    /// Width of a head; ``headCount`` times it need not be ``hiddenSize``.
    public var headDimension: Int
    /// Experts in each layer.
    public var expertCount: Int
    /// Experts that each token is given to.
    public var expertsPerToken: Int
    /// Positions that a sliding layer sees, a token's own included.
    public var slidingWindow: Int
    /// Positions the model was made for.
    public var maxPositions: Int
    /// Added to the mean square in RMSNorm.
    public var rmsNormEpsilon: Float
    /// Clamp of SwiGLU's gate from above, and of up on both sides.
    public var swigluLimit: Float
    /// Slope inside SwiGLU's sigmoid.
    public var swigluAlpha: Float
    /// Rotary position embedding.
    public var rope: RoPE
    /// How the experts' matrices are stored.
    public var expertFormat: ExpertFormat
    /// From `generation_config.json` where it names them, otherwise from `config.json`.
    public var endOfSequenceTokens: [Int32]

    /// Layers of attention and experts.
    public var layerCount: Int { layerTypes.count }
    /// Width of all query heads together.
    public var queryWidth: Int { headCount * headDimension }
    /// Width of all key heads, and of all value heads, together.
    public var keyValueWidth: Int { keyValueHeadCount * headDimension }
}
