public import JSON

/// What the model is told about itself.
public struct SystemContent: Sendable, Equatable {
    /// The first line.
    public var identity: String?
    /// Where the training data ends, such as `2024-06`.
    public var knowledgeCutoff: String?
    /// The day of the conversation, such as `2025-06-28`.
    public var currentDate: String?
    /// How long to think before answering.
    public var reasoningEffort: ReasoningEffort?
    /// Built-in tools, such as a browser; functions belong into a developer message.
    public var tools: [ToolNamespace]
    /// The channels to use; none, and nothing is said about channels.
    public var channels: [String]
    /// Whether each message must name its channel.
    public var channelRequired: Bool

    /// The given lines and no others.
    public init(
        identity: String? = nil, knowledgeCutoff: String? = nil, currentDate: String? = nil,
        reasoningEffort: ReasoningEffort? = nil, tools: [ToolNamespace] = [], channels: [String] = [],
        channelRequired: Bool = false
    ) {
        self.identity = identity
        self.knowledgeCutoff = knowledgeCutoff
        self.currentDate = currentDate
        self.reasoningEffort = reasoningEffort
        self.tools = tools
        self.channels = channels
        self.channelRequired = channelRequired
    }

    /// What gpt-oss was trained to expect.
    public static func standard(reasoningEffort: ReasoningEffort = .medium, currentDate: String? = nil) -> Self {
        SystemContent(
            identity: "You are ChatGPT, a large language model trained by OpenAI.", knowledgeCutoff: "2024-06",
            currentDate: currentDate, reasoningEffort: reasoningEffort,
            channels: ["analysis", "commentary", "final"], channelRequired: true)
    }
}

/// How long the model thinks before it answers. Raw values are the words of both the format and OpenAI's API.
public enum ReasoningEffort: String, Sendable, CaseIterable {
    case low, medium, high
}

/// The developer's instructions (which users of OpenAI's API call the system prompt) and tools.
public struct DeveloperContent: Sendable, Equatable {
    /// Free text.
    public var instructions: String?
    /// The tools that the model may call.
    public var tools: [ToolNamespace]

    /// Instructions, tools, or both.
    public init(instructions: String? = nil, tools: [ToolNamespace] = []) {
        self.instructions = instructions
        self.tools = tools
    }
}

/// Tools under a common name: a call goes to `name.tool`.
public struct ToolNamespace: Sendable, Equatable {
    /// The namespace of the functions that clients define.
    public static let functions = "functions"

    /// The name, unique in its message.
    public var name: String
    /// What the tools have in common.
    public var description: String?
    /// The tools, in the order the model sees them.
    public var tools: [Tool]

    /// Groups tools.
    public init(name: String, description: String? = nil, tools: [Tool]) {
        self.name = name
        self.description = description
        self.tools = tools
    }
}

/// A tool that the model may call.
public struct Tool: Sendable, Equatable {
    /// The name within its namespace.
    public var name: String
    /// What it does; may have several lines or be empty.
    public var description: String
    /// A JSON schema of its argument; nil where it takes none.
    public var parameters: JSONValue?

    /// Describes a tool.
    public init(name: String, description: String = "", parameters: JSONValue? = nil) {
        self.name = name
        self.description = description
        self.parameters = parameters
    }
}
