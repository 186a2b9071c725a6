import Checkpoints
import Cluster
import Foundation
import Harmony
import Tokenization
import Transformer

/// Which model, in which arithmetic, with how many threads.
struct ModelOptions {
    let directory: URL
    let precision: Precision
    let weights: DenseWeights
    /// How keys and values are held; nil: as suits the precision.
    let kvFormat: KVFormat?
    let threads: Int

    static let modelFlag = Flag("model", "DIR", "The checkpoint: config.json, *.safetensors, tokenizer.json.")
    static let threadsFlag = Flag("threads", "N", "Threads to compute with (default: one for each processor).")
    static let pinFlag = Flag(
        "pin", nil, "Bind each thread to a processor of its own; for machines on which nothing else computes.")
    static let flags = [
        modelFlag,
        Flag(
            "precision", "P",
            "int8 (default); bf16 or exact: bfloat16 or float32 activations against the exact weights."),
        Flag("weights", "W", "int8 (default) or bf16: how attention and output head are held in int8 precision."),
        Flag(
            "kv-cache", "F", "bf16, int8 or float32: how keys and values are held (default: bf16; float32 with exact)."),
        threadsFlag, pinFlag,
    ]

    init(_ arguments: Arguments) throws(UsageError) {
        directory = URL(fileURLWithPath: try arguments.required("model"))
        precision = try arguments.choice("precision", default: Precision.int8)
        weights = try arguments.choice("weights", default: DenseWeights.int8)
        if precision != .int8, arguments.has("weights") {
            throw UsageError("--weights is for int8 precision; \(precision.rawValue) takes the weights as they are")
        }
        kvFormat = arguments.has("kv-cache") ? try arguments.choice("kv-cache", default: KVFormat.bf16) : nil
        threads = try Self.threads(arguments)
    }

    static func threads(_ arguments: Arguments) throws(UsageError) -> Int {
        ThreadPool.setBinding(arguments.has("pin"))
        return try arguments.integer("threads", in: 1...1024) ?? ProcessInfo.processInfo.activeProcessorCount
    }

    func openCheckpoint() throws -> Checkpoint { try Checkpoint(directory: directory) }

    func openTokenizer() throws -> HarmonyEncoding {
        try HarmonyEncoding(tokenizer: Tokenizer(contentsOf: directory.appending(path: "tokenizer.json")))
    }

    /// Prepares the weights, showing how far it has come.
    func makeTransformer(_ checkpoint: Checkpoint, log: Log? = nil) throws -> Transformer {
        let progress = Progress("preparing weights", log: log)
        let transformer = try Transformer(
            checkpoint: checkpoint, precision: precision, denseWeights: weights, threads: threads,
            progress: progress.show)
        // For tests and measurements: the transformer itself chooses what is faster.
        switch ProcessInfo.processInfo.environment["SHOAL_MICRO_BATCHES"] ?? "" {
        case "": break
        case "1": transformer.firstMicroBatch = { $0 }
        case "2": transformer.firstMicroBatch = { ($0 + 1) / 2 }
        case let value: throw UsageError("SHOAL_MICRO_BATCHES is '\(value)'; expected 1 or 2")
        }
        return transformer
    }
}
