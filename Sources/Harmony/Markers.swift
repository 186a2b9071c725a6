/// The special tokens of the format. Raw values are their texts, by which a tokenizer knows them.
package enum Marker: String, Sendable, CaseIterable {
    case start = "<|start|>"
    case channel = "<|channel|>"
    case constrain = "<|constrain|>"
    case message = "<|message|>"
    case end = "<|end|>"
    case call = "<|call|>"
    case `return` = "<|return|>"
}

/// The channels of a well-behaved assistant.
enum Channel: String, Sendable {
    /// Reasoning, which users do not see.
    case analysis
    /// Function calls, and what is said before them.
    case commentary
    /// The answer.
    case final
}
