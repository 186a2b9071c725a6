/// What an OpenAI chat-completions request says that shapes the prompt, decoded from JSON and type-checked.
public struct ChatRequest: Sendable, Equatable {
    /// The request's `messages`; at the same indices, so that errors can name them.
    public var messages: [ChatMessage]
    /// The functions that the model may call.
    public var tools: [Tool]
    /// How long to think.
    public var reasoningEffort: ReasoningEffort
    /// The day to tell the model, such as `2025-06-28`; nil to keep it from the model.
    public var currentDate: String?

    /// A request with OpenAI's defaults.
    public init(
        messages: [ChatMessage], tools: [Tool] = [], reasoningEffort: ReasoningEffort = .medium,
        currentDate: String? = nil
    ) {
        self.messages = messages
        self.tools = tools
        self.reasoningEffort = reasoningEffort
        self.currentDate = currentDate
    }
}

/// One entry of `messages`, the texts of its content parts joined.
public enum ChatMessage: Sendable, Equatable {
    /// Role `system` or `developer`: both are the developer's instructions.
    case instructions(String)
    /// Role `user`.
    case user(String)
    /// Role `assistant`: an earlier reply. Absent and empty texts mean the same.
    case assistant(reasoning: String? = nil, content: String? = nil, toolCalls: [ChatToolCall] = [])
    /// Role `tool`: the result of the earlier call of that id.
    case tool(callID: String, content: String)
}

/// A call that an earlier reply made.
public struct ChatToolCall: Sendable, Equatable {
    /// What its result refers to.
    public var id: String
    /// The function's name.
    public var name: String
    /// The arguments' JSON text, passed on verbatim, valid or not.
    public var arguments: String

    /// A call as the client repeats it.
    public init(id: String, name: String, arguments: String) {
        self.id = id
        self.name = name
        self.arguments = arguments
    }
}

/// A chat request makes no sense.
public struct ChatRequestError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The offending field, such as `messages[3].tool_call_id`.
    public let path: String
    /// What is wrong with it, and what was expected.
    public let problem: String

    /// "messages[3].tool_call_id: …"
    public var description: String { "\(path): \(problem)" }
}
