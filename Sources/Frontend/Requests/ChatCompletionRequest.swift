import Harmony
import JSON

/// The body of `POST /v1/chat/completions`.
package struct ChatCompletionRequest: Sendable {
    /// What the prompt is made of.
    package var prompt: ChatPromptFields
    package var generation: GenerationFields
    /// Nil: as many tokens as the context allows.
    package var maxTokens: Int?
    /// The number of alternatives to report for each token; nil: no log-probabilities.
    package var topLogprobs: Int?

    /// - Throws: ``APIError``.
    package init(body: [UInt8], model: ServedModel) throws {
        var reader = try ObjectReader(body: body)
        try model.check(&reader)
        prompt = try ChatPromptFields(&reader)
        generation = try GenerationFields(&reader, model: model)
        maxTokens = try maxTokens(&reader)
        topLogprobs = try Self.topLogprobs(&reader)
        reader.ignore("store", "metadata", "service_tier", "parallel_tool_calls", "prediction")
        try Self.refuseUnsupported(&reader)
        try reader.end()
    }

    private func maxTokens(_ reader: inout ObjectReader) throws -> Int? {
        let old = try reader.field("max_tokens").map { try $0.integer(in: 1...Int.max) }
        try generation.checkMinTokens(maxTokens: old, field: "max_tokens")
        guard let field = reader.field("max_completion_tokens") else { return old }
        let limit = try field.integer(in: 1...Int.max)
        try generation.checkMinTokens(maxTokens: limit, field: field.path)
        guard old == nil || old == limit else {
            throw field.invalid("it contradicts the older 'max_tokens'; give one of them", code: "invalid_value")
        }
        return limit
    }

    private static func topLogprobs(_ reader: inout ObjectReader) throws -> Int? {
        let isOn = try reader.field("logprobs")?.bool() ?? false
        guard let field = reader.field("top_logprobs") else { return isOn ? 0 : nil }
        let count = try field.integer(in: 0...20)
        guard isOn || count == 0 else {
            throw field.invalid("it is only allowed when 'logprobs' is true", code: "invalid_value")
        }
        return isOn ? count : nil
    }

    private static func refuseUnsupported(_ reader: inout ObjectReader) throws {
        try reader.refuse("audio")
        try reader.refuse("functions")
        try reader.refuse("function_call", unless: "none", "auto")
        try reader.refuse("modalities", unless: ["text"])
        try reader.refuse("verbosity", unless: "medium")
        try reader.refuse("web_search_options")
        try reader.refuse("include_reasoning", unless: true)
        try reader.refuse("skip_special_tokens", unless: true)
    }
}

/// What a chat request says about the prompt; `POST /tokenize` says it in the same words.
package struct ChatPromptFields: Sendable {
    private var request: ChatRequest

    /// - Throws: ``APIError``.
    init(_ reader: inout ObjectReader) throws {
        let field = try reader.required("messages")
        let messages = try field.elements().map { try ChatMessage($0) }
        guard !messages.isEmpty else { throw field.invalid("expected at least one message", code: "invalid_value") }
        request = ChatRequest(
            messages: messages, tools: try ToolFields(&reader).tools,
            reasoningEffort: try reader.field("reasoning_effort")?.word() ?? .medium)
        try reader.refuse("chat_template")
        try reader.refuse("chat_template_kwargs", unless: [:])
        try reader.refuse("continue_final_message", unless: false)
    }

    /// The conversation to be continued.
    /// - Parameter date: The day that the model is told, such as `2025-06-28`.
    /// - Throws: ``APIError`` that names the field at fault.
    func conversation(date: String) throws -> Conversation {
        var request = request
        request.currentDate = date
        do {
            return try Conversation(request)
        } catch {
            throw APIError.invalid(
                "Invalid '\(error.path)': \(error.problem).", param: error.path, code: "invalid_value")
        }
    }
}
