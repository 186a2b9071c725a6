/// Why a request was not run, or did not finish.
public struct EngineError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure, for the status code.
    public enum Kind: Sendable {
        case promptTooLong, invalidRequest, overloaded, deadlineExceeded, shuttingDown, expertsUnavailable
        case internalError
    }

    /// What kind of failure.
    public let kind: Kind
    /// What was found, what was expected, and the remedy where there is one.
    public let description: String

    /// When a place may be free again, where that is why; an estimate.
    public let retryAfter: Duration?

    package init(_ kind: Kind, _ description: String, retryAfter: Duration? = nil) {
        self.kind = kind
        self.retryAfter = retryAfter
        self.description = description
    }
}
