import JSON

/// The body of `POST /v1/completions`.
package struct CompletionRequest: Sendable {
    package enum Prompt: Sendable, Equatable {
        case text(String)
        case tokens([Int32])
    }

    /// At least one.
    package var prompts: [Prompt]
    package var generation: GenerationFields
    package var maxTokens = 16
    /// Whether the answer begins with the prompt.
    package var echo = false
    /// The number of alternatives to report for each token; nil: no log-probabilities.
    package var logprobs: Int?

    /// - Throws: ``APIError``.
    package init(body: [UInt8], model: ServedModel) throws {
        var reader = try ObjectReader(body: body)
        try model.check(&reader)
        let promptField = try reader.required("prompt")
        prompts = try Self.prompts(promptField, model: model)
        generation = try GenerationFields(&reader, model: model)
        if let field = reader.field("echo") { echo = try field.bool() }
        if let field = reader.field("logprobs") { logprobs = try field.integer(in: 0...20) }
        if let field = reader.field("max_tokens") {
            maxTokens = try field.integer(in: 0...Int.max)
            guard maxTokens > 0 || echo else {
                throw field.invalid("0 is only allowed when 'echo' is true", code: "invalid_value")
            }
        }
        try generation.checkMinTokens(maxTokens: maxTokens, field: "max_tokens")
        guard prompts.count * generation.choices <= GenerationFields.maximumChoices else {
            throw promptField.invalid(
                "\(prompts.count) prompts times n are more than \(GenerationFields.maximumChoices) choices",
                code: "invalid_value")
        }
        try reader.refuse("best_of", unless: 1, JSONValue(generation.choices))
        try reader.refuse("suffix", unless: "")
        try reader.refuse("add_special_tokens", unless: true)
        try reader.refuse("skip_special_tokens", unless: false)
        try reader.end()
    }

    /// A text, several texts, token ids, or several lists of token ids.
    private static func prompts(_ field: Field, model: ServedModel) throws -> [Prompt] {
        if let text = field.value.string { return [.text(text)] }
        guard let first = field.value.array?.first else {
            throw field.mismatch("a string, an array of strings, an array of token ids, or an array of these")
        }
        switch first {
        case .string: return try field.elements().map { .text(try $0.string()) }
        case .array: return try field.elements().map { .tokens(try model.tokens($0)) }
        default: return [.tokens(try model.tokens(field))]
        }
    }
}
