import Engine
import JSON

/// The answer to one request: its choices, as they are generated.
struct Answer<Kind: Choice>: Sendable {
    let id = Kind.idPrefix + Identifier.random()
    /// Seconds since 1970.
    let created: Int
    let model: String
    let promptTokens: Int
    let choicesPerPrompt: Int
    /// How the prompt's scores are told; nil where they are not.
    let promptLogprobs: PromptLogprobs?
    /// By index.
    let choices: [(choice: Kind, generation: Generation)]

    /// A choice that has ended.
    private struct Ended: Sendable {
        var choice: Kind
        var promptLogprobs: JSONValue?
    }

    /// The whole answer as one value.
    /// - Throws: What the engine throws; `CancellationError`.
    func collect() async throws -> JSONValue {
        let results = try await withThrowingTaskGroup(of: (Int, Ended, Kind.Delta).self) { group in
            for index in choices.indices {
                group.addTask {
                    var whole = Kind.Delta()
                    let ended = try await run(index) { whole.append($0) }
                    return (index, ended, whole)
                }
            }
            var results: [(index: Int, ended: Ended, whole: Kind.Delta)] = []
            for try await result in group { results.append(result) }
            return results.sorted { $0.index < $1.index }
        }
        var answer = envelope(Kind.object)
        answer["choices"] = .array(
            results.map { index, ended, whole in
                var parts = Kind.whole(whole)
                if !Kind.sharesPrompt { parts["prompt_logprobs"] = ended.promptLogprobs }
                return choice(index, parts, ended: ended.choice)
            })
        answer["usage"] = usage(results.map(\.ended.choice))
        if Kind.sharesPrompt { answer["prompt_logprobs"] = results.first?.ended.promptLogprobs }
        return .object(answer)
    }

    /// The answer as a stream of chunks. What fails once the stream has begun is told in an event of its own.
    func stream(to writer: HTTPBodyWriter, includesUsage: Bool, promptField: String) async {
        do {
            let ended = try await withThrowingTaskGroup(of: Kind.self) { group in
                for index in choices.indices {
                    group.addTask {
                        if let opening = Kind.opening?.object { await send(index, opening) }
                        let choice = try await run(index) { delta in
                            if !delta.isEmpty { await send(index, Kind.chunk(delta)) }
                        }.choice
                        await send(index, Kind.chunk(Kind.Delta()), ended: choice)
                        return choice
                    }
                }
                var ended: [Kind] = []
                for try await choice in group { ended.append(choice) }
                return ended
            }
            if includesUsage { await send([], usage: usage(ended)) }
        } catch {
            await writer.send(APIError(error, promptField: promptField).json)
        }
        await writer.sendDone()

        func send(_ index: Int, _ parts: JSONObject, ended: Kind? = nil) async {
            await send([choice(index, parts, ended: ended)], usage: .null)
        }

        func send(_ choices: [JSONValue], usage: JSONValue) async {
            var chunk = envelope(Kind.chunkObject)
            chunk["choices"] = .array(choices)
            if includesUsage { chunk["usage"] = usage }
            await writer.send(.object(chunk))
        }
    }

    /// Follows a generation to its end. Where the choice ends before, the generation is cancelled, and its last step
    /// waited for: only then is it known what it used.
    private func run(_ index: Int, each: (Kind.Delta) async -> Void) async throws -> Ended {
        let generation = choices[index].generation
        var ended = Ended(choice: choices[index].choice)
        do {
            for try await event in generation where ended.choice.finishReason == nil {
                if case .prompt(let scores) = event { ended.promptLogprobs = promptLogprobs?.json(scores) }
                await each(ended.choice.take(event))
                if ended.choice.finishReason != nil { generation.cancel(as: .stop) }
            }
        } catch  where ended.choice.finishReason != nil {
            // What fails after the end concerns nobody.
        }
        guard ended.choice.finishReason != nil else { throw CancellationError() }
        return ended
    }

    private func envelope(_ object: String) -> JSONObject {
        JSONObject([
            .init(name: "id", value: .string(id)), .init(name: "object", value: .string(object)),
            .init(name: "created", value: JSONValue(created)), .init(name: "model", value: .string(model)),
            .init(name: "system_fingerprint", value: .null),
        ])
    }

    private func choice(_ index: Int, _ parts: JSONObject, ended: Kind?) -> JSONValue {
        var choice = JSONObject([.init(name: "index", value: JSONValue(index))] + parts.members)
        choice["finish_reason"] = ended?.finishReason.map { .string($0) } ?? .null
        if let ended { choice["stop_reason"] = ended.stopReason?.json ?? .null }
        return .object(choice)
    }

    private func usage(_ ended: [Kind]) -> JSONValue {
        let completionTokens = ended.reduce(0) { $0 + $1.completionTokens }
        var usage = JSONObject([
            .init(name: "prompt_tokens", value: JSONValue(promptTokens)),
            .init(name: "completion_tokens", value: JSONValue(completionTokens)),
            .init(name: "total_tokens", value: JSONValue(promptTokens + completionTokens)),
        ])
        // Of each prompt once, as in `prompt_tokens`: by its first choice, since the others find what that one left.
        let cachedTokens = stride(from: 0, to: choices.count, by: choicesPerPrompt)
            .reduce(0) { $0 + (choices[$1].generation.usage?.cachedTokens ?? 0) }
        usage["prompt_tokens_details"] = ["cached_tokens": JSONValue(cachedTokens)]
        let reasoningTokens = ended.compactMap(\.reasoningTokens)
        if !reasoningTokens.isEmpty {
            usage["completion_tokens_details"] = ["reasoning_tokens": JSONValue(reasoningTokens.reduce(0, +))]
        }
        return .object(usage)
    }
}

/// Names for what clients refer to later.
enum Identifier {
    /// 24 characters that are never the same twice.
    static func random() -> String {
        let alphabet = Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return String((0..<24).compactMap { _ in alphabet.randomElement() })
    }
}
