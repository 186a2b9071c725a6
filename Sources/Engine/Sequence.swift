import Synchronization
import Transformer

/// A request in the engine's hands: its tokens, its cache, and how far it has come. Belongs to the engine's thread.
final class Sequence {
    let id: RequestID
    private let submission: Submission
    private let cache: KVCache
    private let seed: UInt64
    /// How many tokens it may generate.
    private let limit: Int
    /// The prompt, and what was generated.
    private var tokens: [Int32]
    /// Tokens that are in the cache, once the step in progress has succeeded.
    private(set) var computed = 0
    private var scores: [ScoredToken] = []
    private var usage: GenerationUsage

    private var request: GenerationRequest { submission.request }
    private var generated: Int { tokens.count - request.prompt.count }

    init(_ submission: Submission, cache: KVCache, contextLength: Int) {
        id = submission.id
        self.submission = submission
        self.cache = cache
        let request = submission.request
        seed = request.sampling.seed ?? .random(in: .min ... .max)
        limit = min(request.maxTokens ?? .max, contextLength - request.prompt.count)
        tokens = request.prompt
        usage = GenerationUsage(promptTokens: request.prompt.count)
    }

    /// The next `count` tokens for the forward pass.
    func segment(_ count: Int) -> Segment {
        let range = computed..<computed + count
        if computed == 0 { usage.queueTime = .now - submission.submitted }
        computed = range.upperBound
        let selection: LogitsSelection =
            if request.promptLogprobs != nil && range.lowerBound < request.prompt.count {
                .all
            } else if range.upperBound == tokens.count && generated < limit {
                .last
            } else {
                .none
            }
        return cache.segment(Array(tokens[range]), logits: selection)
    }

    /// Reads the rows of logits that the last segment asked for: scores the tokens that are known, draws the one that
    /// is not.
    /// - Throws: ``EngineError`` where the logits are not finite.
    func read(
        _ logits: UnsafeBufferPointer<Float>, rows: Int, kernels: Kernels
    ) throws(EngineError) -> ScoredToken? {
        let columns = rows > 0 ? logits.count / rows : 0
        for index in 0..<rows {
            let next = computed - rows + index + 1
            let row = UnsafeBufferPointer(rebasing: logits[index * columns..<(index + 1) * columns])
            guard let row = LogitRow(row, kernels: kernels) else {
                throw EngineError(
                    .internalError,
                    "the model computed logits that are not finite for position \(next); is the checkpoint damaged?")
            }
            if next < tokens.count {
                scores.append(row.scored(tokens[next], top: request.promptLogprobs))
            } else if generated < limit {
                let token = row.sample(request.sampling, seed: seed, position: next)
                return row.scored(token, top: request.topLogprobs)
            }
        }
        return nil
    }

    /// Yields what the last step brought.
    /// - Returns: Why the generation ends here, or nil.
    func deliver(_ token: ScoredToken?) -> FinishReason? {
        guard computed >= request.prompt.count else { return nil }
        if request.promptLogprobs != nil && generated == 0 {
            submission.events.yield(.prompt([ScoredToken(id: request.prompt[0])] + scores))
            scores = []
        }
        if let token {
            if generated == 0 { usage.timeToFirstToken = .now - submission.submitted }
            tokens.append(token.id)
            submission.events.yield(.token(token))
            if request.stopTokens.contains(token.id) { return .stop }
        }
        return generated >= limit ? .length : nil
    }

    /// Yields the end, with the usage known before it.
    func finish(_ result: Result<FinishReason, EngineError>) {
        usage.generatedTokens = generated
        usage.totalTime = .now - submission.submitted
        submission.usage.value.withLock { $0 = usage }
        switch result {
        case .success(let reason):
            submission.events.yield(.finished(reason))
            submission.events.finish()
        case .failure(let error):
            submission.events.finish(throwing: error)
        }
    }
}
