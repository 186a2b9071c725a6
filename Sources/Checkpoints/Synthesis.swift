public import Foundation

/// A checkpoint with random weights, of any shape: for tests, demonstrations and measurements without real weights.
///
/// Each tensor's bytes follow from the seed, its name and the config alone, so that the same synthesis gives the same
/// checkpoint on every machine.
public struct Synthesis: Sendable {
    /// A shape to start from.
    public enum Preset: String, Sendable, CaseIterable {
        /// About 30 MB with everything that a real one has.
        case tiny
        /// 13.8 GB.
        case gptOSS20B = "gpt-oss-20b"
        /// 65 GB.
        case gptOSS120B = "gpt-oss-120b"
    }

    /// The dimensions. `endOfSequenceTokens` is taken from the tokenizer when the checkpoint is written.
    public var config: ModelConfig
    /// Which of all checkpoints of this config.
    public var seed: UInt64 = 0
    /// The `tokenizer.json` to copy. Without one, a tokenizer is made up that gives every id a text.
    public var tokenizer: URL?
    /// A file is closed before it grows beyond this many bytes; a checkpoint within it is one file without an index.
    public var maximumFileSize = 5_000_000_000

    /// The dimensions of a preset.
    public init(_ preset: Preset) {
        let isTiny = preset == .tiny
        config = ModelConfig(
            vocabularySize: isTiny ? 2048 : 201_088, hiddenSize: isTiny ? 512 : 2880,
            intermediateSize: isTiny ? 512 : 2880, layerTypes: [], headCount: isTiny ? 8 : 64,
            keyValueHeadCount: isTiny ? 2 : 8, headDimension: 64, expertCount: isTiny ? 8 : 32,
            expertsPerToken: isTiny ? 2 : 4, slidingWindow: 128, maxPositions: 131_072, rmsNormEpsilon: 1e-5,
            swigluLimit: 7, swigluAlpha: 1.702,
            rope: ModelConfig.RoPE(
                theta: 150_000, factor: 32, betaFast: 32, betaSlow: 1, originalMaxPositions: 4096, truncate: false),
            expertFormat: .mxfp4, endOfSequenceTokens: [])
        layerCount = isTiny ? 6 : 24
        if preset == .gptOSS120B {
            config.expertCount = 128
            layerCount = 36
        }
    }

    /// The number of layers. Setting it makes them alternate, beginning with a sliding one. As with every dimension, a
    /// number that no config may have is refused when the checkpoint is written.
    public var layerCount: Int {
        get { config.layerCount }
        set {
            let most = ModelConfig.Bounds.layers.upperBound + 1
            config.layerTypes = ModelConfig.alternatingLayers(min(max(newValue, 0), most))
        }
    }
}
