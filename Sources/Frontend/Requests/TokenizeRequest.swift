import JSON

/// The body of `POST /tokenize`, in vLLM's form: a text, or a conversation.
package struct TokenizeRequest: Sendable {
    package enum Input: Sendable {
        case text(String)
        /// The rendered prompt, up to where the reply begins where that is asked for.
        case chat(ChatPromptFields, addsGenerationPrompt: Bool)
    }

    package var input: Input
    package var returnsTokenStrings: Bool

    /// - Throws: ``APIError``.
    package init(body: [UInt8], model: ServedModel) throws {
        var reader = try ObjectReader(body: body)
        try model.check(&reader)
        if let prompt = reader.field("prompt") {
            input = .text(try prompt.string())
        } else if reader.object["messages"] != nil {
            let addsGenerationPrompt = try reader.field("add_generation_prompt")?.bool() ?? true
            input = .chat(try ChatPromptFields(&reader), addsGenerationPrompt: addsGenerationPrompt)
        } else {
            throw APIError.invalid(
                "Missing required parameter: 'prompt' or 'messages'.", param: "prompt",
                code: "missing_required_parameter")
        }
        // The tokenizer adds none of its own accord, so the two values mean the same.
        _ = try reader.field("add_special_tokens")?.bool()
        returnsTokenStrings = try reader.field("return_token_strs")?.bool() ?? false
        try reader.end()
    }
}

/// The body of `POST /detokenize`, in vLLM's form.
package struct DetokenizeRequest: Sendable {
    package var tokens: [Int32]

    /// - Throws: ``APIError``.
    package init(body: [UInt8], model: ServedModel) throws {
        var reader = try ObjectReader(body: body)
        try model.check(&reader)
        tokens = try model.tokens(try reader.required("tokens"))
        try reader.end()
    }
}
