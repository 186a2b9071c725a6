import JSON

/// What ends an answer beside the model itself.
package struct StopRules: Sendable {
    /// Strings that end the text before them.
    package var strings: [String] = []
    /// Tokens that end it; they are no part of the text.
    package var tokens: Set<Int32> = []
    /// Before so many tokens no stop string ends the text, as in vLLM.
    package var minTokens = 0

    package init(strings: [String] = [], tokens: Set<Int32> = [], minTokens: Int = 0) {
        self.strings = strings
        self.tokens = tokens
        self.minTokens = minTokens
    }
}

/// The string or token that ended an answer.
package enum StopReason: Sendable, Equatable {
    case text(String)
    case token(Int32)

    /// As vLLM writes it in `stop_reason`.
    var json: JSONValue {
        switch self {
        case .text(let text): .string(text)
        case .token(let id): JSONValue(id)
        }
    }
}
