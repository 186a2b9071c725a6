import Checkpoints

/// The dimensions that both sides must agree upon.
package struct ModelShape: Sendable, Equatable, CustomStringConvertible {
    package var layers: Int
    /// In each layer.
    package var experts: Int
    package var hiddenSize: Int
    package var intermediateSize: Int

    package init(layers: Int, experts: Int, hiddenSize: Int, intermediateSize: Int) {
        self.layers = layers
        self.experts = experts
        self.hiddenSize = hiddenSize
        self.intermediateSize = intermediateSize
    }

    package var description: String {
        "\(layers) layers of \(experts) experts, hidden size \(hiddenSize), intermediate size \(intermediateSize)"
    }
}

/// What makes two checkpoints compute the same.
package struct ModelIdentity: Sendable {
    package let shape: ModelShape
    /// SHA-256 of config and weights.
    package let digest: [UInt8]
    /// Bytes that one expert of one layer occupies; the largest where layers differ.
    package let bytesPerExpert: Int

    package init(shape: ModelShape, digest: [UInt8], bytesPerExpert: Int) {
        self.shape = shape
        self.digest = digest
        self.bytesPerExpert = bytesPerExpert
    }

    init(_ checkpoint: Checkpoint) throws {
        let config = checkpoint.config
        shape = ModelShape(
            layers: config.layerCount, experts: config.expertCount, hiddenSize: config.hiddenSize,
            intermediateSize: config.intermediateSize)
        digest = try checkpoint.digest()
        let layers = checkpoint.layers.map { layer in layer.experts.all.reduce(0) { $0 + $1.bytes.count } }
        bytesPerExpert = max(1, (layers.max() ?? 0) / max(1, config.expertCount))
    }
}

extension ExpertTensors {
    /// All of them; each is [experts, …], so that an expert's part is one range of bytes.
    var all: [Tensor] {
        switch self {
        case .mxfp4(let gateUpBlocks, let gateUpScales, let gateUpBias, let downBlocks, let downScales, let downBias):
            [gateUpBlocks, gateUpScales, gateUpBias, downBlocks, downScales, downBias]
        case .bf16(let gateUp, let gateUpBias, let down, let downBias): [gateUp, gateUpBias, down, downBias]
        }
    }
}
