package import Checkpoints

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

    package init(_ config: ExpertConfig) {
        self.init(
            layers: config.layerCount, experts: config.expertCount, hiddenSize: config.hiddenSize,
            intermediateSize: config.intermediateSize)
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
    /// Bytes that one expert of one layer occupies.
    package let bytesPerExpert: Int

    package init(shape: ModelShape, digest: [UInt8], bytesPerExpert: Int) {
        self.shape = shape
        self.digest = digest
        self.bytesPerExpert = bytesPerExpert
    }

    package init(_ checkpoint: Checkpoint) throws {
        self.init(checkpoint.expertConfig, digest: try checkpoint.digest())
    }

    init(_ config: ExpertConfig, digest: [UInt8]) {
        self.init(shape: ModelShape(config), digest: digest, bytesPerExpert: ExpertLayout(config).byteCount)
    }
}
