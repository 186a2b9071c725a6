import Engine
import Harmony
import Tokenization

extension Endpoints {
    /// `POST /v1/chat/completions`.
    func chat(_ request: ChatCompletionRequest) async throws -> HTTPResponse {
        try checkReadiness()
        let prompt = try prompt(for: request.prompt)
        let choices = try (0..<request.sampling.choices).map { index in
            let generation = try engine.submit(
                GenerationRequest(
                    prompt: prompt, sampling: request.sampling.parameters(choice: index),
                    maxTokens: request.maxTokens,
                    stopTokens: harmony.stopTokens.union(configuration.endTokens),
                    topLogprobs: request.topLogprobs))
            let choice = ChatChoice(
                harmony: harmony, stops: request.sampling.stop, isScored: request.topLogprobs != nil)
            return (choice, generation)
        }
        let answer = Answer(
            created: timestamp, model: configuration.modelName, promptTokens: prompt.count, choices: choices)
        return try await respond(with: answer, request.sampling, promptField: "messages")
    }

    /// `POST /v1/completions`. The choices of the first prompt come first.
    func complete(_ request: CompletionRequest) async throws -> HTTPResponse {
        try checkReadiness()
        let prompts = request.prompts.map { prompt in
            switch prompt {
            // Whoever writes a raw prompt writes its special tokens too.
            case .text(let text): harmony.tokenizer.encode(text, specialTokens: .all)
            case .tokens(let tokens): tokens
            }
        }
        let choices = try prompts.flatMap { prompt in
            try (0..<request.sampling.choices).map { index in
                let generation = try engine.submit(
                    GenerationRequest(
                        prompt: prompt, sampling: request.sampling.parameters(choice: index),
                        maxTokens: request.maxTokens, stopTokens: configuration.endTokens,
                        topLogprobs: request.logprobs, promptLogprobs: request.echo ? request.logprobs : nil))
                let choice = CompletionChoice(
                    tokenizer: harmony.tokenizer, stopTokens: configuration.endTokens, stops: request.sampling.stop,
                    echoedPrompt: request.echo ? prompt : [], isScored: request.logprobs != nil)
                return (choice, generation)
            }
        }
        let answer = Answer(
            created: timestamp, model: configuration.modelName,
            promptTokens: prompts.reduce(0) { $0 + $1.count }, choices: choices)
        return try await respond(with: answer, request.sampling, promptField: "prompt")
    }

    /// The tokens that the model is given for a chat.
    func prompt(for fields: ChatPromptFields) throws -> [Int32] {
        let conversation = try fields.conversation(date: date)
        do {
            return try harmony.prompt(for: conversation)
        } catch {
            throw APIError.invalid("\(error)", param: "messages")
        }
    }

    private func respond<Kind>(
        with answer: Answer<Kind>, _ sampling: SamplingFields, promptField: String
    ) async throws -> HTTPResponse {
        guard sampling.streams else { return .json(try await answer.collect()) }
        return .events { writer in
            await answer.stream(to: writer, includesUsage: sampling.includesUsage, promptField: promptField)
        }
    }
}
