import Engine
import JSON

/// The answer to one request: its choices, as they are generated.
struct Answer<Kind: Choice>: Sendable {
    let id: String
    /// Seconds since 1970.
    let created: Int
    let model: String
    let promptTokens: Int
    /// By index.
    let choices: [(choice: Kind, generation: Generation)]

    init(created: Int, model: String, promptTokens: Int, choices: [(choice: Kind, generation: Generation)]) {
        id = Kind.idPrefix + Identifier.random()
        self.created = created
        self.model = model
        self.promptTokens = promptTokens
        self.choices = choices
    }

    /// The whole answer as one value.
    /// - Throws: What the engine throws; `CancellationError`.
    func collect() async throws -> JSONValue {
        let (ended, deltas) = try await withThrowingTaskGroup(of: (Int, Kind, Kind.Delta).self) { group in
            for (index, element) in choices.enumerated() {
                group.addTask {
                    var whole = Kind.Delta()
                    let choice = try await run(element.choice, element.generation) { whole.append($0) }
                    return (index, choice, whole)
                }
            }
            var results: [(Int, Kind, Kind.Delta)] = []
            for try await result in group { results.append(result) }
            results.sort { $0.0 < $1.0 }
            return (results.map(\.1), results.map(\.2))
        }
        var answer = envelope(Kind.object)
        answer["choices"] = .array(
            zip(ended, deltas).enumerated().map { index, element in
                choice(index, Kind.whole(element.1), finishReason: element.0.finishReason)
            })
        answer["usage"] = usage(ended)
        return .object(answer)
    }

    /// The answer as a stream of chunks. What fails once the stream has begun is told in an event of its own.
    func stream(to writer: HTTPBodyWriter, includesUsage: Bool, promptField: String) async {
        do {
            let ended = try await withThrowingTaskGroup(of: Kind.self) { group in
                for (index, element) in choices.enumerated() {
                    group.addTask {
                        if let opening = Kind.opening?.object { await send(index, opening) }
                        let choice = try await run(element.choice, element.generation) { delta in
                            if !delta.isEmpty { await send(index, Kind.chunk(delta)) }
                        }
                        await send(index, Kind.chunk(Kind.Delta()), finishReason: choice.finishReason)
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

        func send(_ index: Int, _ parts: JSONObject, finishReason: String? = nil) async {
            await send([choice(index, parts, finishReason: finishReason)], usage: .null)
        }

        func send(_ choices: [JSONValue], usage: JSONValue) async {
            var chunk = envelope(Kind.chunkObject)
            chunk["choices"] = .array(choices)
            if includesUsage { chunk["usage"] = usage }
            await writer.send(.object(chunk))
        }
    }

    /// Follows a generation to the choice's end, which may come before the generation's.
    private func run(
        _ choice: Kind, _ generation: Generation, each: (Kind.Delta) async -> Void
    ) async throws -> Kind {
        var choice = choice
        for try await event in generation {
            await each(choice.take(event))
            guard choice.finishReason == nil else {
                generation.cancel()
                return choice
            }
        }
        throw CancellationError()
    }

    private func envelope(_ object: String) -> JSONObject {
        JSONObject([
            .init(name: "id", value: .string(id)), .init(name: "object", value: .string(object)),
            .init(name: "created", value: JSONValue(created)), .init(name: "model", value: .string(model)),
            .init(name: "system_fingerprint", value: .null),
        ])
    }

    private func choice(_ index: Int, _ parts: JSONObject, finishReason: String?) -> JSONValue {
        var choice = JSONObject([.init(name: "index", value: JSONValue(index))] + parts.members)
        choice["finish_reason"] = finishReason.map { .string($0) } ?? .null
        return .object(choice)
    }

    private func usage(_ ended: [Kind]) -> JSONValue {
        let completionTokens = ended.reduce(0) { $0 + $1.completionTokens }
        var usage = JSONObject([
            .init(name: "prompt_tokens", value: JSONValue(promptTokens)),
            .init(name: "completion_tokens", value: JSONValue(completionTokens)),
            .init(name: "total_tokens", value: JSONValue(promptTokens + completionTokens)),
        ])
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
