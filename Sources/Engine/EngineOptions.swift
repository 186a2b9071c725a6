public import Transformer

/// How much an ``Engine`` takes on at a time, and in how much memory.
public struct EngineOptions: Sendable {
    /// Requests that run at a time, at least one.
    public var sequences: Int
    /// Requests that may wait beyond those; the next is refused as overloaded.
    public var queue: Int
    /// Tokens computed in one step, at least as many as sequences: one of each sequence that decodes, and with what is
    /// left chunks of prompts. It is how long a long prompt delays the others' next token.
    public var batchTokens: Int
    /// Tokens computed in a step while no sequence decodes: more of them share what is read and decoded of the weights.
    var promptTokens: Int { batchTokens * 2 }
    /// Tokens that prompt and completion may have together; nil: as many positions as the model knows and the memory
    /// holds.
    public var contextLength: Int?
    /// Bytes for keys and values; nil: what the machine can spare, but no more than `sequences` requests of
    /// `contextLength` tokens need.
    public var kvMemory: Int?
    /// How keys and values are held; nil: as suits the model's precision.
    public var kvFormat: KVFormat?
    /// Seconds for which a request waits for experts that nobody can compute, before it ends with an error.
    public var recoverySeconds = 30.0

    /// The defaults suit one machine and a handful of clients.
    public init(
        sequences: Int = 32, queue: Int = 128, batchTokens: Int = 256, contextLength: Int? = nil, kvMemory: Int? = nil,
        kvFormat: KVFormat? = nil
    ) {
        self.sequences = sequences
        self.queue = queue
        self.batchTokens = batchTokens
        self.contextLength = contextLength
        self.kvMemory = kvMemory
        self.kvFormat = kvFormat
    }

    /// Refuses what no engine can work with.
    /// - Throws: ``EngineError``.
    func validate() throws(EngineError) {
        for (name, value, least) in [
            ("sequences", sequences, 1), ("queue", queue, 0), ("batch tokens", batchTokens, 1),
            ("context length", contextLength ?? 1, 1), ("KV memory", kvMemory ?? 1, 1),
        ] where value < least {
            throw EngineError(.invalidRequest, "\(name) is \(value); it must be at least \(least)")
        }
        guard batchTokens >= sequences else {
            throw EngineError(
                .invalidRequest,
                "a step of \(batchTokens) tokens has no room for a token of each of \(sequences) sequences; allow more "
                    + "tokens, or fewer sequences")
        }
    }
}
