/// What the experts alone need of a config: enough to compute them without attention, router or tokenizer.
public struct ExpertConfig: Sendable, Equatable {
    /// Layers of the model.
    public let layerCount: Int
    /// Experts in each layer.
    public let expertCount: Int
    /// Width of a row.
    public let hiddenSize: Int
    /// Width inside an expert, after SwiGLU.
    public let intermediateSize: Int
    /// How the matrices are stored.
    public let format: ModelConfig.ExpertFormat
    /// Clamp of SwiGLU's gate from above, and of up on both sides.
    public let swigluLimit: Float
    /// Slope inside SwiGLU's sigmoid.
    public let swigluAlpha: Float

    /// Those of a config that was checked.
    public init(_ config: ModelConfig) {
        layerCount = config.layerCount
        expertCount = config.expertCount
        hiddenSize = config.hiddenSize
        intermediateSize = config.intermediateSize
        format = config.expertFormat
        swigluLimit = config.swigluLimit
        swigluAlpha = config.swigluAlpha
    }

    /// Dimensions that another process states, held to the bounds of `config.json`.
    /// - Throws: ``CheckpointError`` naming field, found and expected.
    public init(
        layerCount: Int, expertCount: Int, hiddenSize: Int, intermediateSize: Int, format: ModelConfig.ExpertFormat,
        swigluLimit: Float, swigluAlpha: Float
    ) throws {
        func check<Value: Comparable>(_ field: String, _ value: Value, _ bounds: ClosedRange<Value>) throws {
            guard bounds.contains(value) else {
                throw CheckpointError(
                    "the coordinator's model", field: field, found: "\(value)",
                    expected: "\(bounds.lowerBound) to \(bounds.upperBound)")
            }
        }
        try check("num_hidden_layers", layerCount, ModelConfig.Bounds.layers)
        try check("num_local_experts", expertCount, ModelConfig.Bounds.experts)
        try check("hidden_size", hiddenSize, ModelConfig.Bounds.width)
        try check("intermediate_size", intermediateSize, ModelConfig.Bounds.width)
        try check("swiglu_limit", Double(swigluLimit), ModelConfig.Bounds.swigluLimit)
        try check("swiglu_alpha", Double(swigluAlpha), ModelConfig.Bounds.swigluAlpha)
        guard format == .bf16 || (hiddenSize.isMultiple(of: 32) && intermediateSize.isMultiple(of: 32)) else {
            throw CheckpointError(
                "the coordinator's model", field: "hidden_size", found: "\(hiddenSize) by \(intermediateSize)",
                expected: "multiples of 32, the length of an MXFP4 block")
        }
        self.layerCount = layerCount
        self.expertCount = expertCount
        self.hiddenSize = hiddenSize
        self.intermediateSize = intermediateSize
        self.format = format
        self.swigluLimit = swigluLimit
        self.swigluAlpha = swigluAlpha
    }
}

extension ModelConfig {
    /// Bounds within which no product of dimensions overflows.
    enum Bounds {
        static let layers = 1...1 << 10
        static let experts = 1...1 << 14
        static let width = 1...1 << 17
        static let swigluLimit = 1e-3...1e6
        static let swigluAlpha = 1e-3...1e3
    }
}
