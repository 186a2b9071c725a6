extension HarmonyEncoding {
    /// The messages of a whole token sequence, however garbled.
    ///
    /// - Parameter role: the role whose header the prompt began; nil where the tokens begin with `<|start|>`.
    public func messages(in tokens: some Sequence<Int32>, role: Role? = .assistant) -> [ParsedMessage] {
        var parser = HarmonyParser(encoding: self, role: role)
        return parser.messages(in: tokens)
    }

    /// The messages of a token sequence that follows the format.
    /// - Throws: the first ``HarmonyProblem`` where it does not, as OpenAI's library does in its strict mode.
    public func strictMessages(
        in tokens: some Sequence<Int32>, role: Role? = .assistant
    ) throws(HarmonyProblem) -> [ParsedMessage] {
        var parser = HarmonyParser(encoding: self, role: role, strict: true)
        let messages = parser.messages(in: tokens)
        if let problem = parser.problems.first { throw problem }
        return messages
    }
}

extension HarmonyParser {
    /// Processes the tokens to their end.
    package mutating func messages(in tokens: some Sequence<Int32>) -> [ParsedMessage] {
        var messages: [ParsedMessage] = []
        for token in tokens {
            if case .message(let message) = process(token) { messages.append(message) }
        }
        if let message = finish() { messages.append(message) }
        return messages
    }
}
