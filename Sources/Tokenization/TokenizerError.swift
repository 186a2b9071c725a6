/// A `tokenizer.json` cannot be used.
public struct TokenizerError: Error, Sendable, CustomStringConvertible {
    /// What was found, what was expected, and the remedy.
    public let description: String
}
