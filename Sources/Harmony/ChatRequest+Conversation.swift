extension Conversation {
    /// The conversation that a chat request asks to continue.
    ///
    /// A system message always comes first. Leading instructions and the tools make one developer message; later
    /// instructions make one each. A reply becomes up to three kinds of message: reasoning in `analysis`, content in
    /// `final` (or in `commentary`, as a preamble, where calls follow), and a message to each called function.
    /// - Throws: ``ChatRequestError`` where a name cannot stand in a message header, or a tool's result belongs to no
    ///   call.
    public init(_ request: ChatRequest) throws(ChatRequestError) {
        for (index, tool) in request.tools.enumerated() {
            try Self.check(functionName: tool.name, at: "tools[\(index)].function.name")
        }
        let system = SystemContent.standard(
            reasoningEffort: request.reasoningEffort, currentDate: request.currentDate)
        messages = [Message(role: .system, content: [.system(system)])]

        let leading = request.messages.prefix { if case .instructions = $0 { true } else { false } }
        let instructions = leading.compactMap {
            if case .instructions(let text) = $0, !text.isEmpty { text } else { nil }
        }
        let developer = DeveloperContent(
            instructions: instructions.isEmpty ? nil : instructions.joined(separator: "\n\n"),
            tools: request.tools.isEmpty ? [] : [ToolNamespace(name: ToolNamespace.functions, tools: request.tools)])
        if developer != DeveloperContent() {
            messages.append(Message(role: .developer, content: [.developer(developer)]))
        }

        var calledFunctions: [String: String] = [:]
        for (index, message) in request.messages.enumerated().dropFirst(leading.count) {
            let path = "messages[\(index)]"
            switch message {
            case .instructions(let text):
                guard !text.isEmpty else { continue }
                messages.append(
                    Message(role: .developer, content: [.developer(DeveloperContent(instructions: text))]))
            case .user(let text):
                messages.append(Message(role: .user, text: text))
            case .assistant(let reasoning, let content, let toolCalls):
                append(reasoning, in: .analysis)
                append(content, in: toolCalls.isEmpty ? .final : .commentary)
                for (callIndex, call) in toolCalls.enumerated() {
                    try Self.check(functionName: call.name, at: "\(path).tool_calls[\(callIndex)].function.name")
                    calledFunctions[call.id] = call.name
                    append(call)
                }
            case .tool(let callID, let content):
                guard let name = calledFunctions[callID] else {
                    throw ChatRequestError(
                        path: "\(path).tool_call_id",
                        problem: "'\(callID)' is the id of no tool call in an earlier assistant message")
                }
                messages.append(
                    Message(
                        role: .tool, name: "\(ToolNamespace.functions).\(name)", recipient: Role.assistant.rawValue,
                        channel: Channel.commentary.rawValue, text: content))
            }
        }
    }

    private mutating func append(_ text: String?, in channel: Channel) {
        guard let text, !text.isEmpty else { return }
        messages.append(Message(role: .assistant, channel: channel.rawValue, text: text))
    }

    private mutating func append(_ call: ChatToolCall) {
        messages.append(
            Message(
                role: .assistant, recipient: "\(ToolNamespace.functions).\(call.name)",
                channel: Channel.commentary.rawValue, contentType: "\(Marker.constrain.rawValue)json",
                text: call.arguments))
    }

    /// A name goes into message headers, whose words are separated by white space and end at the next marker.
    private static func check(functionName name: String, at path: String) throws(ChatRequestError) {
        guard !name.isEmpty, !name.unicodeScalars.contains(where: { $0.properties.isWhitespace || $0 == "<" }) else {
            throw ChatRequestError(
                path: path,
                problem: "'\(name)' is no function name: expected one or more characters, no white space or '<'")
        }
    }
}
