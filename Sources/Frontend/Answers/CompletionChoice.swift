import Engine
import JSON
import Tokenization

/// A choice of `/v1/completions`: the prompt where it is to be echoed, and the generated text as it is, special tokens
/// included.
struct CompletionChoice: Choice {
    struct Delta: ChoiceDelta {
        var text = ""
        /// Nil where log-probabilities were not asked for.
        var logprobs: CompletionLogprobs?

        var isEmpty: Bool { text.isEmpty && logprobs?.tokens.isEmpty ?? true }

        mutating func append(_ next: Delta) {
            text += next.text
            guard let added = next.logprobs else { return }
            // In place: replies are long.
            if logprobs?.append(added) == nil { logprobs = added }
        }
    }

    static let idPrefix = "cmpl-"
    static let object = "text_completion"
    static let chunkObject = "text_completion"
    static let sharesPrompt = false
    static let opening: JSONValue? = nil

    private let tokenizer: Tokenizer
    private let endTokens: Set<Int32>
    private let rules: StopRules
    private let logprobs: Int?
    private var echoedPrompt: [Int32]
    private var detokenizer: IncrementalDetokenizer
    private var text: GuardedText
    private(set) var finishReason: String?
    private(set) var stopReason: StopReason?
    private(set) var completionTokens = 0
    var reasoningTokens: Int? { nil }

    /// - Parameters:
    ///   - endTokens: Tokens that end the text and are no part of it, beside those of the rules.
    ///   - echoedPrompt: What the text begins with; empty for nothing.
    ///   - logprobs: How many alternatives are reported for each token; nil: no log-probabilities.
    init(
        tokenizer: Tokenizer, endTokens: Set<Int32>, rules: StopRules, echoedPrompt: [Int32], logprobs: Int?
    ) {
        self.tokenizer = tokenizer
        self.endTokens = endTokens
        self.rules = rules
        self.logprobs = logprobs
        self.echoedPrompt = echoedPrompt
        detokenizer = IncrementalDetokenizer(tokenizer: tokenizer)
        text = GuardedText(stops: rules.strings)
    }

    mutating func take(_ event: GenerationEvent) -> Delta {
        var delta = Delta(logprobs: logprobs.map { CompletionLogprobs(alternatives: $0) })
        if case .prompt(let scores) = event {
            echo(scores, into: &delta)
            return delta
        }
        echo(echoedPrompt.map { ScoredToken(id: $0) }, into: &delta)
        switch event {
        case .prompt: break
        case .token(let token):
            completionTokens += 1
            if rules.tokens.contains(token.id) { stopReason = .token(token.id) }
            let ends = stopReason != nil || endTokens.contains(token.id)
            add(text.append(ends ? "" : detokenizer.append(token.id), token: token, mayStop: mayStop), to: &delta)
            noteStop()
        case .finished(let reason):
            add(text.append(detokenizer.finish(), token: nil, mayStop: mayStop), to: &delta)
            add(text.finish(), to: &delta)
            finishReason = reason == .length ? "length" : "stop"
            noteStop()
        }
        return delta
    }

    private var mayStop: Bool { completionTokens > rules.minTokens }

    private mutating func noteStop() {
        guard let match = text.match else { return }
        (finishReason, stopReason) = ("stop", .text(match))
    }

    /// The prompt, to which stop strings do not apply.
    private mutating func echo(_ prompt: [ScoredToken], into delta: inout Delta) {
        guard !echoedPrompt.isEmpty else { return }
        echoedPrompt = []
        var echoed = GuardedText(stops: [])
        for token in prompt { add(echoed.append(detokenizer.append(token.id), token: token), to: &delta) }
        text = GuardedText(stops: rules.strings, offset: delta.text.unicodeScalars.count)
    }

    private func add(_ piece: GuardedText.Piece, to delta: inout Delta) {
        delta.text += piece.text
        for token in piece.tokens { delta.logprobs?.append(token, tokenizer) }
    }

    static func chunk(_ delta: Delta) -> JSONObject { whole(delta) }

    static func whole(_ delta: Delta) -> JSONObject {
        JSONObject([
            .init(name: "text", value: .string(delta.text)),
            .init(name: "logprobs", value: delta.logprobs?.json ?? .null),
        ])
    }
}

/// The `logprobs` of `/v1/completions`: columns with one entry per token.
struct CompletionLogprobs: Sendable {
    /// Of what is known, so many most likely tokens are reported.
    let count: Int
    private(set) var tokens: [JSONValue] = []
    private var logprobs: [JSONValue] = []
    private var alternatives: [JSONValue] = []
    private var offsets: [JSONValue] = []

    init(alternatives count: Int) { self.count = count }

    mutating func append(_ token: GuardedText.Token, _ tokenizer: Tokenizer) {
        let text = TokenText.lossless(token.scored.id, tokenizer)
        tokens.append(.string(text))
        offsets.append(JSONValue(token.offset))
        guard let logprob = token.scored.logprob else {
            logprobs.append(.null)
            alternatives.append(.null)
            return
        }
        logprobs.append(TokenText.json(logprob: logprob))
        // The token itself is always among them. Two tokens may look the same: the more likely one is shown.
        var top = JSONObject()
        for alternative in token.scored.top.prefix(count) {
            let name = TokenText.lossless(alternative.id, tokenizer)
            if top[name] == nil { top[name] = TokenText.json(logprob: alternative.logprob) }
        }
        if top[text] == nil { top[text] = TokenText.json(logprob: logprob) }
        alternatives.append(.object(top))
    }

    mutating func append(_ next: Self) {
        tokens += next.tokens
        logprobs += next.logprobs
        alternatives += next.alternatives
        offsets += next.offsets
    }

    var json: JSONValue {
        [
            "tokens": .array(tokens), "token_logprobs": .array(logprobs), "top_logprobs": .array(alternatives),
            "text_offset": .array(offsets),
        ]
    }
}
