import Checkpoints
import Engine
import Foundation
import Harmony
import Tokenization

enum Generate: Command {
    static let name = "generate"
    static let summary = "Answer one prompt, without a server."
    static let discussion = """
        Puts PROMPT to the model as a user's message and prints the answer as it comes; reasoning goes to standard error.
        With --raw the prompt is continued as plain text. `--prompt -` reads standard input.
        """
    static let flags =
        ModelOptions.flags + [
            Flag("prompt", "TEXT", "What to ask."),
            Flag("raw", nil, "Continue the text instead of answering it."),
            Flag("reasoning-effort", "E", "low, medium or high (default medium)."),
            Flag("max-tokens", "N", "At most this many tokens (default: as many as the context allows)."),
            EngineFlags.context, EngineFlags.memory,
            Flag("temperature", "T", "0 always takes the most likely token (default 1)."),
            Flag("top-p", "P", "Draw from the most likely tokens of this much probability (default 1)."),
            Flag("seed", "N", "The same seed gives the same answer."),
            LocalCluster.flag,
        ]

    static func run(_ arguments: Arguments) async throws {
        let model = try ModelOptions(arguments)
        var prompt = try arguments.required("prompt")
        if prompt == "-" {
            prompt = String(decoding: try FileHandle.standardInput.readToEnd() ?? Data(), as: UTF8.self)
        }
        let effort = try arguments.choice("reasoning-effort", default: ReasoningEffort.medium)
        let isRaw = arguments.has("raw")
        let sampling = SamplingParameters(
            temperature: Float(try arguments.number("temperature", in: 0...100) ?? 1),
            topP: Float(try arguments.number("top-p", in: 0...1) ?? 1),
            seed: try arguments.integer("seed", in: 0...Int.max).map(UInt64.init))
        let maxTokens = try arguments.integer("max-tokens", in: 0...Int.max)
        let options = try options(arguments, model)
        let workers = try arguments.integer("workers", in: 0...64) ?? 0

        let checkpoint = try model.openCheckpoint()
        let harmony = try model.openTokenizer()
        let tokens =
            isRaw
            ? harmony.tokenizer.encode(prompt)
            : try harmony.prompt(
                for: Conversation(ChatRequest(messages: [.user(prompt)], reasoningEffort: effort)))
        let cluster = try await LocalCluster(model, checkpoint, workers: workers, log: .warnings)
        defer { cluster.stop() }
        nonisolated(unsafe) let experts = cluster.experts  // the engine's thread is the only one that uses them
        let engine = try await Engine(options: options) { (try model.makeTransformer(checkpoint), experts) }
        let generation = try engine.submit(
            GenerationRequest(
                prompt: tokens, sampling: sampling, maxTokens: maxTokens,
                stopTokens: harmony.stopTokens.union(checkpoint.config.endOfSequenceTokens)))
        try await show(
            generation,
            isRaw
                ? .raw(IncrementalDetokenizer(tokenizer: harmony.tokenizer)) : .chat(ChatReplyParser(encoding: harmony))
        )
        await engine.shutdown()
        if let usage = generation.usage { printError("\n" + summary(usage)) }
    }

    // Not inlined: Swift 6.3's compiler crashes on the coroutine that `run` then becomes.
    @inline(never)
    private static func options(_ arguments: Arguments, _ model: ModelOptions) throws -> EngineOptions {
        var options = EngineOptions(sequences: 1, kvFormat: model.kvFormat)
        options.contextLength = try arguments.integer("context", in: 1...Int(Int32.max))
        options.kvMemory = try arguments.bytes("kv-memory")
        return options
    }

    private enum Reader {
        case raw(IncrementalDetokenizer)
        case chat(ChatReplyParser)
    }

    private static func show(_ generation: Generation, _ reader: Reader) async throws {
        var reader = reader
        for try await event in generation {
            guard case .token(let token) = event else { continue }
            switch reader {
            case .raw(var detokenizer):
                try printOutput(detokenizer.append(token.id), terminator: "")
                reader = .raw(detokenizer)
            case .chat(var parser):
                for event in parser.process(token.id) { try write(event) }
                reader = .chat(parser)
            }
        }
        switch reader {
        case .raw(var detokenizer): try printOutput(detokenizer.finish(), terminator: "")
        case .chat(var parser): for event in parser.finish() { try write(event) }
        }
        try printOutput("")
    }

    private static func write(_ event: ChatReplyEvent) throws {
        switch event {
        case .reasoning(let text): printError(text, terminator: "")
        case .content(let text), .toolCallArguments(let text): try printOutput(text, terminator: "")
        case .toolCall(let name): try printOutput("\n[call of \(name)] ", terminator: "")
        }
    }

    private static func summary(_ usage: GenerationUsage) -> String {
        let first = usage.timeToFirstToken ?? usage.totalTime
        let rate = Double(max(0, usage.generatedTokens - 1)) / max(1e-9, (usage.totalTime - first) / .seconds(1))
        return String(
            format: "%d prompt tokens, first token after %.2f s; %d tokens, %.2f a second", usage.promptTokens,
            first / .seconds(1), usage.generatedTokens, rate)
    }
}
