import Engine
import Harmony
import Tokenization

extension Endpoints {
    /// `POST /v1/chat/completions`.
    func chat(_ request: ChatCompletionRequest, from client: Client) async throws -> HTTPResponse {
        let prompt = try prompt(for: request.prompt)
        let fields = request.generation
        let endTokens = harmony.stopTokens.union(configuration.endTokens)
        try checkSize(
            choices: fields.choices, scoredPositions: fields.promptLogprobs.map { prompt.count * ($0 + 1) } ?? 0)
        let choices = try (0..<fields.choices).map { index in
            var generation = fields.request(
                prompt: prompt, choice: index, maxTokens: request.maxTokens, endTokens: endTokens,
                topLogprobs: request.topLogprobs, client: client)
            // Once is enough: the prompt is the same.
            if index > 0 { generation.promptLogprobs = nil }
            let choice = ChatChoice(
                harmony: harmony, rules: fields.stopRules(endTokens: endTokens), isScored: request.topLogprobs != nil)
            return (choice, try engine.submit(generation))
        }
        return try await respond(with: choices, fields, promptTokens: prompt.count, promptField: "messages")
    }

    /// `POST /v1/completions`. The choices of the first prompt come first.
    func complete(_ request: CompletionRequest, from client: Client) async throws -> HTTPResponse {
        let fields = request.generation
        let prompts = request.prompts.map { prompt in
            switch prompt {
            // Whoever writes a raw prompt writes its special tokens too.
            case .text(let text): harmony.tokenizer.encode(text, specialTokens: .all)
            case .tokens(let tokens): tokens
            }
        }
        let promptTokens = prompts.reduce(0) { $0 + $1.count }
        let alternatives = max(fields.promptLogprobs ?? -1, request.echo ? request.logprobs ?? -1 : -1)
        try checkSize(
            choices: prompts.count * fields.choices, scoredPositions: promptTokens * fields.choices * (alternatives + 1)
        )
        let choices = try prompts.flatMap { prompt in
            try (0..<fields.choices).map { index in
                var generation = fields.request(
                    prompt: prompt, choice: index, maxTokens: request.maxTokens, endTokens: configuration.endTokens,
                    topLogprobs: request.logprobs, client: client)
                if request.echo, let logprobs = request.logprobs {
                    generation.promptLogprobs = max(logprobs, fields.promptLogprobs ?? 0)
                }
                let choice = CompletionChoice(
                    tokenizer: harmony.tokenizer, endTokens: fields.ignoresEnd ? [] : configuration.endTokens,
                    rules: fields.stopRules(endTokens: configuration.endTokens),
                    echoedPrompt: request.echo ? prompt : [], logprobs: request.logprobs)
                return (choice, try engine.submit(generation))
            }
        }
        return try await respond(with: choices, fields, promptTokens: promptTokens, promptField: "prompt")
    }

    /// Refuses what no free place and no patience would make possible: more choices than there are places, or more
    /// log-probabilities of prompts than are held for one request.
    private func checkSize(choices: Int, scoredPositions: Int) throws(APIError) {
        guard choices <= engine.capacity else {
            throw .invalid(
                "\(choices) choices are asked for; this server takes \(engine.capacity) at a time.", param: "n",
                code: "invalid_value")
        }
        guard scoredPositions <= Self.mostScores else {
            throw .invalid(
                "\(scoredPositions) log-probabilities of prompt tokens are asked for; a request may have "
                    + "\(Self.mostScores).", param: "prompt_logprobs", code: "invalid_value")
        }
    }

    /// Each is some 400 bytes until the answer is sent.
    private static let mostScores = 1 << 20

    /// The tokens that the model is given for a chat.
    func prompt(for fields: ChatPromptFields) throws -> [Int32] {
        let conversation = try fields.conversation(date: date)
        do {
            return try harmony.prompt(for: conversation)
        } catch {
            throw APIError.invalid("\(error)", param: "messages")
        }
    }

    private func respond<Kind: Choice>(
        with choices: [(Kind, Generation)], _ fields: GenerationFields, promptTokens: Int, promptField: String
    ) async throws -> HTTPResponse {
        let answer = Answer(
            created: timestamp, model: configuration.modelName, promptTokens: promptTokens,
            choicesPerPrompt: fields.choices,
            promptLogprobs: fields.promptLogprobs.map { PromptLogprobs(tokenizer: harmony.tokenizer, count: $0) },
            choices: choices)
        guard fields.streams else { return .json(try await answer.collect()) }
        return .events { writer in
            await answer.stream(to: writer, includesUsage: fields.includesUsage, promptField: promptField)
        }
    }
}
