import Engine
import Transformer

/// How much the engine takes on at a time, and in how much memory.
enum EngineFlags {
    static let context = Flag(
        "context", "N", "Tokens of prompt and answer together (default: what the model knows and the memory holds).")
    static let memory = Flag(
        "kv-memory", "SIZE", "Memory for keys and values, such as 4G (default: what the machine can spare).")
    static let flags = [
        context, memory,
        Flag("max-sequences", "N", "Requests computed at a time (default 32)."),
        Flag(
            "max-batch-tokens", "N",
            "Tokens of a step: how long a prompt delays others (default 256, or --max-sequences + 64)."),
        Flag(
            "recovery-timeout", "SECONDS",
            "How long a request waits for experts that neither a worker nor this process can compute (default 30)."),
        Flag("max-queue", "N", "Requests that wait beyond those before the next gets 429 (default 128)."),
    ]

    static func options(_ arguments: Arguments, format: KVFormat?) throws -> EngineOptions {
        var options = EngineOptions(
            contextLength: try arguments.integer("context", in: 1...Int(Int32.max)),
            kvMemory: try arguments.bytes("kv-memory"), kvFormat: format)
        options.sequences = try arguments.integer("max-sequences", in: 1...4096) ?? options.sequences
        options.queue = try arguments.integer("max-queue", in: 0...1_000_000) ?? options.queue
        options.recoverySeconds = try arguments.number("recovery-timeout", in: 0...86400) ?? options.recoverySeconds
        let tokens = try arguments.integer("max-batch-tokens", in: 1...65536)
        if let tokens, tokens < options.sequences {
            throw UsageError(
                "--max-batch-tokens is \(tokens); a step computes a token of each of \(options.sequences) sequences "
                    + "(--max-sequences), so it must be at least that")
        }
        options.batchTokens = tokens ?? max(options.batchTokens, options.sequences + 64)
        return options
    }
}
