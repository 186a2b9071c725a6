/// What became of one request. Times are seconds since the level's start, on the monotonic clock.
public struct Sample: Sendable, Equatable {
    /// How it ended.
    public enum Outcome: Sendable, Equatable {
        /// With a finish reason, and everything as it should be.
        case completed
        /// By this side, on purpose.
        case cancelled
        /// Otherwise.
        case failed(RequestFailure)
    }

    /// Its number in the workload.
    public var index: Int
    /// When it should have been sent: in an open loop the moment of its arrival, otherwise that of sending.
    public var scheduled: Double
    /// When it was sent.
    public var sent: Double
    /// When the last of it came.
    public var ended = 0.0
    /// When each chunk with text came.
    public var chunks: [Double] = []
    /// Prompt tokens: as the server counted them or, where it did not, as sent.
    public var inputTokens: Int
    /// Generated tokens: as the server counted them; nil where it did not.
    public var countedOutputTokens: Int?
    /// Prompt tokens that the server took from its prefix cache; nil where it does not say.
    public var cachedTokens: Int?
    /// How it ended.
    public var outcome = Outcome.completed

    /// Generated tokens; chunks with text where the server did not count.
    public var outputTokens: Int { countedOutputTokens ?? chunks.count }

    package init(index: Int, scheduled: Double, sent: Double, inputTokens: Int) {
        self.index = index
        self.scheduled = scheduled
        self.sent = sent
        self.inputTokens = inputTokens
    }
}

/// Why a request failed.
public struct RequestFailure: Error, Sendable, Equatable {
    /// What kind of failure: requests are counted by these words.
    public var kind: String
    /// What was found.
    public var message: String

    /// No connection could be made.
    package static func unreachable(_ message: String) -> Self { Self(kind: "unreachable", message: message) }
    /// The server answered, but not with success.
    package static func status(_ code: Int, _ message: String) -> Self { Self(kind: "HTTP \(code)", message: message) }
    /// The stream carried an error.
    package static func event(_ message: String) -> Self { Self(kind: "error in the stream", message: message) }
    /// What came is no stream of an OpenAI server.
    package static func malformed(_ message: String) -> Self { Self(kind: "malformed", message: message) }
    /// The connection ended before the answer did.
    package static func dropped(_ message: String) -> Self { Self(kind: "dropped connection", message: message) }
    /// The answer took too long.
    package static func timeout(_ seconds: Double) -> Self {
        Self(kind: "timeout", message: "not complete after \(seconds) s")
    }
}
