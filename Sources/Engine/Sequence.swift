import Synchronization
import Transformer

/// A request in the engine's hands: what it has drawn and told its client. Belongs to the engine's thread.
final class Sequence {
    let submission: Submission
    private var sampler: TokenSampler
    /// How many tokens it may generate.
    private let limit: Int
    private var generated = 0
    private var scores: [ScoredToken] = []
    private var usage: GenerationUsage
    private var latestToken: ContinuousClock.Instant?
    /// Since when its steps fail for want of experts.
    var stalledSince: ContinuousClock.Instant?

    var id: RequestID { submission.id }
    private var request: GenerationRequest { submission.request }

    init(_ submission: Submission, contextLength: Int) {
        self.submission = submission
        let request = submission.request
        sampler = TokenSampler(request)
        limit = min(request.maxTokens ?? .max, contextLength - request.prompt.count)
        usage = GenerationUsage(promptTokens: request.prompt.count)
    }

    /// The rows of logits that its part of a step is to give.
    func selection(_ work: Scheduler.Work) -> LogitsSelection {
        if work.isScored { return .all }
        return work.range.upperBound == request.prompt.count + generated && generated < limit ? .last : .none
    }

    /// Reads the rows of logits of its part of a step: scores the tokens that are known, draws the one that is not.
    /// - Throws: ``EngineError`` where the logits are not finite.
    func read(
        _ logits: UnsafeMutableBufferPointer<Float>, rows: Int, of work: Scheduler.Work, kernels: Kernels
    ) throws(EngineError) -> ScoredToken? {
        let columns = rows > 0 ? logits.count / rows : 0
        for index in 0..<rows {
            let next = work.range.upperBound - rows + index + 1
            let row = UnsafeMutableBufferPointer(rebasing: logits[index * columns..<(index + 1) * columns])
            if next < request.prompt.count {
                guard let row = LogitRow(UnsafeBufferPointer(row), kernels: kernels) else {
                    throw notFinite(position: next)
                }
                scores.append(row.scored(request.prompt[next], top: request.promptLogprobs))
            } else if generated < limit {
                guard let token = sampler.sample(row, position: next, kernels: kernels) else {
                    throw notFinite(position: next)
                }
                return token
            }
        }
        return nil
    }

    private func notFinite(position: Int) -> EngineError {
        EngineError(
            .internalError,
            "the model computed logits that are not finite for position \(position); is the checkpoint damaged?")
    }

    /// Its pages were given up: what they gave so far is computed again.
    func wasPreempted() { if generated == 0 { scores = [] } }

    /// Its first chunk is about to be computed.
    func begin(_ metrics: inout EngineMetrics) {
        guard usage.queueTime == nil else { return }
        let time = submission.submitted.duration(to: .now)
        usage.queueTime = time
        metrics.queueTime.record(time)
    }

    /// Yields what the last step brought.
    /// - Parameter cached: Tokens of the prompt that were not computed.
    /// - Returns: Why the generation ends here, or nil.
    func deliver(
        _ token: ScoredToken?, of work: Scheduler.Work, cached: Int, _ metrics: inout EngineMetrics
    ) -> FinishReason? {
        guard work.range.upperBound >= request.prompt.count + generated else { return nil }
        usage.cachedTokens = cached
        if request.promptLogprobs != nil && generated == 0 {
            submission.events.yield(.prompt([ScoredToken(id: request.prompt[0])] + scores))
            scores = []
        }
        if let token {
            let now = ContinuousClock.now
            if let latestToken {
                metrics.interTokenLatency.record(latestToken.duration(to: now))
            } else {
                usage.timeToFirstToken = submission.submitted.duration(to: now)
                metrics.timeToFirstToken.record(submission.submitted.duration(to: now))
            }
            latestToken = now
            generated += 1
            sampler.accept(token.id)
            metrics.generatedTokens += 1
            submission.events.yield(.token(token))
            if request.stopTokens.contains(token.id) { return .stop }
        }
        return generated >= limit ? .length : nil
    }

    /// Yields the end, with the usage known before it.
    func finish(_ result: Result<FinishReason, EngineError>) {
        usage.generatedTokens = generated
        usage.totalTime = submission.submitted.duration(to: .now)
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
