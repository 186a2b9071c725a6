/// How much an ``Engine`` takes on at a time. The KV caches may grow to `sequences` times `contextLength` positions.
public struct EngineOptions: Sendable {
    /// Requests that run at a time, at least one.
    public var sequences: Int
    /// Requests that may wait beyond those; the next is refused as overloaded.
    public var queue: Int
    /// Prompt tokens computed in one step, at least one: how long a long prompt delays the others' next token.
    public var prefillTokens: Int
    /// Tokens that prompt and completion may have together; nil: as many positions as the model knows.
    public var contextLength: Int?

    /// The defaults suit one machine and a handful of clients.
    public init(sequences: Int = 32, queue: Int = 128, prefillTokens: Int = 256, contextLength: Int? = nil) {
        self.sequences = sequences
        self.queue = queue
        self.prefillTokens = prefillTokens
        self.contextLength = contextLength
    }

    /// Refuses what no engine can work with.
    /// - Throws: ``EngineError``.
    func validate() throws(EngineError) {
        for (name, value, least) in [
            ("sequences", sequences, 1), ("queue", queue, 0), ("prefill tokens", prefillTokens, 1),
            ("context length", contextLength ?? 1, 1),
        ] where value < least {
            throw EngineError(.invalidRequest, "\(name) is \(value); it must be at least \(least)")
        }
    }

    /// The context length for a model that knows so many positions.
    /// - Throws: ``EngineError`` where more are asked for.
    func contextLength(maxPositions: Int) throws(EngineError) -> Int {
        let length = contextLength ?? maxPositions
        guard length <= maxPositions else {
            throw EngineError(
                .invalidRequest,
                "a context of \(length) tokens exceeds the \(maxPositions) positions that the model knows")
        }
        return length
    }
}
