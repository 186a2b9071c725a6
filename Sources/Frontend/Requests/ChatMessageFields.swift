import Harmony
import JSON

extension ChatMessage {
    private enum RoleName: String, CaseIterable {
        case system, developer, user, assistant, tool
    }

    /// Reads one element of `messages`.
    /// - Throws: ``APIError``.
    init(_ field: Field) throws {
        var reader = try field.object()
        let role = try reader.required("role").word(RoleName.self)
        _ = try reader.field("name")?.string()
        switch role {
        case .system, .developer: self = .instructions(try Self.text(reader.required("content")))
        case .user: self = .user(try Self.text(reader.required("content")))
        case .assistant: self = try Self.assistant(&reader, field)
        case .tool:
            let id = try reader.required("tool_call_id").string()
            self = .tool(callID: id, content: try Self.text(reader.required("content")))
        }
        try reader.end()
    }

    /// A reply, as it was received from this server or another: everything that OpenAI's client echoes is taken.
    private static func assistant(_ reader: inout ObjectReader, _ field: Field) throws -> ChatMessage {
        let content = try reader.field("content").map { try text($0, parts: ["text", "refusal"]) }
        let refusal = try reader.field("refusal")?.string()
        let reasoningContent = try reader.field("reasoning_content")?.string()
        let reasoning = try reader.field("reasoning")?.string()
        let calls = try reader.field("tool_calls")?.elements().map { try ChatToolCall($0) }
        try reader.refuse("function_call")
        try reader.refuse("audio")
        reader.ignore("annotations")
        guard content ?? refusal ?? reasoning ?? reasoningContent != nil || calls?.isEmpty == false else {
            throw APIError.invalid(
                "Missing required parameter: '\(field.path).content'; only a message with tool_calls may omit it.",
                param: "\(field.path).content", code: "missing_required_parameter")
        }
        return .assistant(
            reasoning: reasoning ?? reasoningContent, content: content ?? refusal, toolCalls: calls ?? [])
    }

    /// Content as a string, or as parts that follow each other without separators.
    private static func text(_ field: Field, parts: [String] = ["text"]) throws -> String {
        if let text = field.value.string { return text }
        guard field.value.array != nil else { throw field.mismatch("a string or an array of content parts") }
        return try field.elements().map { part in
            var reader = try part.object()
            let typeField = try reader.required("type")
            let type = try typeField.string()
            guard parts.contains(type) else {
                throw typeField.invalid(
                    "'\(type.prefix(100))' parts are not supported here; this model reads only text",
                    code: "unsupported_value")
            }
            let text = try reader.required(type).string()
            reader.ignore("annotations")
            try reader.end()
            return text
        }.joined()
    }
}

extension ChatToolCall {
    fileprivate init(_ field: Field) throws {
        var reader = try field.object()
        reader.ignore("index")
        let id = try reader.required("id").string()
        let type = reader.field("type")
        guard try type?.string() ?? "function" == "function" else {
            throw APIError.invalid(
                "Invalid '\(field.path).type': only 'function' calls are supported.", param: "\(field.path).type",
                code: "unsupported_value")
        }
        var function = try reader.required("function").object()
        let name = try function.required("name").string()
        let arguments = try function.required("arguments").string()
        try function.end()
        try reader.end()
        self.init(id: id, name: name, arguments: arguments)
    }
}
