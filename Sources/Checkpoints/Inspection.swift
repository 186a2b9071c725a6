public import Foundation

/// What a checkpoint holds, and whether it is sound. Unlike ``Checkpoint``, which refuses at the first fault, an
/// inspection reports as many as it can find.
public struct Inspection: Sendable {
    /// One safetensors file.
    public struct File: Sendable {
        /// Its name in the folder.
        public let name: String
        /// Its size in bytes.
        public let size: Int
        /// Its SHA-256 in lower-case hexadecimal; nil when it could not be read to its end.
        public let sha256: String?
    }

    /// One tensor.
    public struct TensorEntry: Sendable {
        /// Its name in the checkpoint.
        public let name: String
        /// Its type as safetensors names it: "BF16", "U8", …
        public let elementType: String
        /// Its dimensions, the slowest first.
        public let shape: [Int]
        /// Its size in bytes.
        public let size: Int
        /// The file that holds it.
        public let file: String
        /// Whether the model uses it.
        public let isUsed: Bool
    }

    /// The inspected folder.
    public let directory: URL
    /// The architecture; nil when `config.json` was refused.
    public let config: ModelConfig?
    /// The files, in order of name.
    public let files: [File]
    /// The tensors, by file and position in it.
    public let tensors: [TensorEntry]
    /// What is wrong, one line each. Empty for a sound checkpoint.
    public let problems: [String]

    /// Whether the checkpoint can be used.
    public var isSound: Bool { problems.isEmpty }

    /// Reads config and headers, and hashes every file afresh: what was remembered proves nothing about a disk.
    /// - Parameter progress: called with bytes hashed and in total, from the calling thread.
    public init(directory: URL, progress: ((_ done: Int, _ total: Int) -> Void)? = nil) {
        self.init(directory: directory, cache: DigestCache(), progress: progress)
    }

    /// The same with a cache of one's own.
    package init(
        directory: URL, cache: DigestCache, progress: ((_ done: Int, _ total: Int) -> Void)? = nil
    ) {
        var problems: [String] = []
        func attempt<Result>(_ body: () throws -> Result) -> Result? {
            do { return try body() } catch {
                problems.append("\(error)")
                return nil
            }
        }
        let folder: Void? = attempt { try Checkpoint.requireFolder(directory) }
        let config = folder.flatMap { attempt { try ModelConfig(directory: directory) } }
        let checkpointFiles = folder.flatMap { attempt { try CheckpointFiles(directory: directory) } }
        let slots = config?.tensorSlots ?? []
        if let config, let checkpointFiles {
            for slot in slots { _ = attempt { try checkpointFiles.tensor(slot, config) } }
        }
        let used = Set(slots.map(\.name))
        tensors = (checkpointFiles?.tensors.values ?? [:].values)
            .sorted { ($0.file.name, $0.entry.range.lowerBound) < ($1.file.name, $1.entry.range.lowerBound) }
            .map {
                TensorEntry(
                    name: $0.entry.name, elementType: $0.entry.elementType, shape: $0.entry.shape,
                    size: $0.entry.range.count, file: $0.file.name, isUsed: used.contains($0.entry.name))
            }
        let total = checkpointFiles?.totalSize ?? 0
        var done = 0
        files = (checkpointFiles?.files ?? []).map { file in
            let digest = attempt {
                try file.computedDigest { count in
                    done += count
                    progress?(done, total)
                }
            }
            if let digest { cache.remember(digest, of: file.identity) }
            return File(name: file.name, size: file.identity.size, sha256: digest.map(hexadecimal))
        }
        self.directory = directory
        self.config = config
        self.problems = problems
    }

    /// Bytes of all tensors of each element type, the largest first.
    public var bytesByElementType: [(elementType: String, tensors: Int, bytes: Int)] {
        Dictionary(grouping: tensors, by: \.elementType)
            .map { ($0.key, $0.value.count, $0.value.reduce(0) { $0 + $1.size }) }
            .sorted { ($1.2, $0.0) < ($0.2, $1.0) }
    }

    /// Trained parameters: an MXFP4 byte holds two of them, and its scales are none.
    public var parameterCount: Int {
        tensors.filter(\.isUsed).reduce(0) { sum, tensor in
            if tensor.name.hasSuffix("_scales") { return sum }
            return sum + (tensor.name.hasSuffix("_blocks") ? 2 * tensor.size : tensor.size / 2)
        }
    }
}
