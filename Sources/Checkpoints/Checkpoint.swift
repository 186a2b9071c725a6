public import Foundation

/// A gpt-oss checkpoint in the Hugging Face layout, memory-mapped and checked whole before a tensor is handed out.
public final class Checkpoint: Sendable {
    /// Where it lies.
    public let directory: URL
    /// Its dimensions.
    public let config: ModelConfig
    /// [vocabulary, hidden].
    public let embedding: Tensor
    /// [hidden].
    public let finalNorm: Tensor
    /// [vocabulary, hidden].
    public let outputHead: Tensor
    /// The first layer first.
    public let layers: [LayerTensors]

    /// Bytes of all its files that hold tensors.
    public var byteCount: Int { files.files.reduce(0) { $0 + $1.bytes.count } }

    let configDigest: [UInt8]
    let files: CheckpointFiles

    /// Maps and checks the checkpoint in `directory`: `config.json`, and `model.safetensors.index.json` with the files
    /// that it names or, where there is no index, `model.safetensors`.
    /// - Throws: ``CheckpointError``.
    public init(directory: URL) throws {
        try Self.requireFolder(directory)
        let (config, configDigest) = try ModelConfig.read(directory)
        let files = try CheckpointFiles(directory: directory)
        func tensor(_ role: TensorRole, _ layer: Int? = nil) throws -> Tensor {
            try files.tensor(TensorSlot(role: role, layer: layer), config)
        }
        self.directory = directory
        self.config = config
        self.configDigest = configDigest
        self.files = files
        embedding = try tensor(.embedding)
        finalNorm = try tensor(.finalNorm)
        outputHead = try tensor(.outputHead)
        layers = try (0..<config.layerCount).map { layer in
            try LayerTensors(config.expertFormat) { try tensor($0, layer) }
        }
    }

    static func requireFolder(_ directory: URL) throws {
        let expected = "expected a folder with config.json, *.safetensors and tokenizer.json"
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: directory.path, isDirectory: &isFolder) else {
            throw CheckpointError("\(directory.path): there is no such folder; \(expected)")
        }
        guard isFolder.boolValue else { throw CheckpointError("\(directory.path) is a file; \(expected)") }
    }
}
