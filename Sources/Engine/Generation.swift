import Synchronization

/// A token with natural log-probabilities of the model's own distribution: before bias, penalties and temperature.
public struct ScoredToken: Sendable, Equatable {
    /// A token that might have stood at the same position.
    public struct Alternative: Sendable, Equatable {
        /// The token.
        public var id: Int32
        /// Its natural log-probability.
        public var logprob: Float

        package init(id: Int32, logprob: Float) {
            self.id = id
            self.logprob = logprob
        }
    }

    /// The token.
    public var id: Int32
    /// Nil where log-probabilities were not asked for, and for a prompt's first token.
    public var logprob: Float?
    /// Its place among all tokens in descending order of probability, from 1; nil where `logprob` is.
    public var rank: Int?
    /// The most likely tokens at this position, descending, ties by ascending id.
    public var top: [Alternative]

    package init(id: Int32, logprob: Float? = nil, rank: Int? = nil, top: [Alternative] = []) {
        self.id = id
        self.logprob = logprob
        self.rank = rank
        self.top = top
    }
}

/// Why a generation ended.
public enum FinishReason: String, Sendable {
    case stop, length, cancelled

    var outcome: EngineMetrics.Outcome {
        switch self {
        case .stop: .stop
        case .length: .length
        case .cancelled: .cancelled
        }
    }
}

/// What a generation yields, in this order: the prompt's scores (once, where asked for), tokens, and the end.
public enum GenerationEvent: Sendable, Equatable {
    case prompt([ScoredToken])
    case token(ScoredToken)
    case finished(FinishReason)
}

/// What a generation consumed and how long it took.
public struct GenerationUsage: Sendable, Equatable {
    /// Tokens of the prompt.
    public var promptTokens: Int
    /// Of these, tokens whose keys and values an earlier request had left.
    public var cachedTokens = 0
    /// Tokens generated, a stop token included.
    public var generatedTokens = 0
    /// From submission until the prompt's first chunk was scheduled.
    public var queueTime: Duration?
    /// From submission to the first token; nil where there was none.
    public var timeToFirstToken: Duration?
    /// From submission to the end.
    public var totalTime: Duration = .zero
}

/// A running request: an AsyncSequence of ``GenerationEvent`` that can be cancelled. Dropping it, or cancelling the task
/// that iterates it, cancels it too. Iterate it once. Where a request fails while it runs, iterating throws
/// ``EngineError``.
public struct Generation: AsyncSequence, Sendable {
    /// What iterating yields.
    public typealias Element = GenerationEvent

    let id: RequestID
    let inbox: Inbox
    let stream: AsyncThrowingStream<GenerationEvent, any Error>
    let finalUsage: UsageBox

    /// Iterates the events.
    public func makeAsyncIterator() -> AsyncThrowingStream<GenerationEvent, any Error>.AsyncIterator {
        stream.makeAsyncIterator()
    }

    /// Ends the generation within one step, by default as cancelled; harmless when it has ended.
    public func cancel(as reason: FinishReason = .cancelled) { inbox.cancel(id, as: reason) }

    /// Tokens and times. Nil until the generation has ended: known once `finished` was yielded or an error thrown.
    public var usage: GenerationUsage? { finalUsage.value.withLock { $0 } }
}

/// Carries the usage from the engine's thread to whoever holds the ``Generation``.
final class UsageBox: Sendable {
    let value = Mutex<GenerationUsage?>(nil)
}
