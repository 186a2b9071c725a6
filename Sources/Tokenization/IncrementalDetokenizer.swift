/// Turns tokens into text as they come, never emitting half a code point.
///
/// The texts it gives, put together, are what ``Tokenizer/decode(_:)`` gives for all tokens at once.
public struct IncrementalDetokenizer: Sendable {
    private let tokenizer: Tokenizer
    /// The beginning of a code point, at most three bytes, between calls.
    private var pending: [UInt8] = []

    /// Begins with nothing pending.
    public init(tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
    }

    /// The text that became certain with this token.
    public mutating func append(_ token: Int32) -> String {
        tokenizer.append(token, to: &pending)
        let certain = pending.dropLast(UTF8Sequence.incompleteSuffix(of: pending))
        pending.removeFirst(certain.count)
        return String(decoding: certain, as: UTF8.self)
    }

    /// What remained pending at the end, invalid bytes as U+FFFD.
    public mutating func finish() -> String {
        defer { pending = [] }
        return String(decoding: pending, as: UTF8.self)
    }
}
