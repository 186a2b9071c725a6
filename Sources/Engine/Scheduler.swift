/// Identifies a request within one engine.
package typealias RequestID = UInt64

/// Decides what each step computes: iteration-level scheduling as in Orca (Yu et al., OSDI 2022). One token for every
/// sequence whose prompt is in its cache, and beside them chunks of prompts within a budget.
///
/// Requests are admitted first come, first served. Admitted prompts take turns: each step begins with the one whose
/// turn is longest ago, so a long prompt delays a short one by at most one chunk, and none starves.
package struct Scheduler {
    /// The bounds of a step.
    package struct Limits: Sendable {
        /// Sequences that are admitted at a time.
        package var sequences: Int
        /// Prompt tokens in a step.
        package var prefillTokens: Int
        /// Of these, tokens of prompts whose scores are asked for: each needs a row of logits.
        package var scoredTokens: Int

        package init(sequences: Int, prefillTokens: Int, scoredTokens: Int) {
            self.sequences = sequences
            self.prefillTokens = prefillTokens
            self.scoredTokens = scoredTokens
        }
    }

    /// A prompt, or what is left of it.
    package struct Prompt: Equatable, Sendable {
        package var id: RequestID
        package var tokens: Int
        package var isScored: Bool

        package init(id: RequestID, tokens: Int, isScored: Bool = false) {
            self.id = id
            self.tokens = tokens
            self.isScored = isScored
        }
    }

    /// The work of one step. No request is in it twice.
    package struct Step: Equatable, Sendable {
        /// Sequences that decode a token.
        package var decoding: [RequestID]
        /// The next tokens of prompts.
        package var chunks: [Prompt] = []

        package init(decoding: [RequestID] = []) { self.decoding = decoding }
    }

    private let limits: Limits
    private var waiting: [Prompt] = []
    private var prefilling: [Prompt] = []
    private var decoding: [RequestID] = []

    package init(limits: Limits) { self.limits = limits }

    /// Admitted requests that have not been removed.
    package var runningCount: Int { prefilling.count + decoding.count }

    /// Puts a request at the end of the queue. Its prompt has at least one token.
    package mutating func add(_ prompt: Prompt) { waiting.append(prompt) }

    /// Forgets a request that has ended, in whatever state it is.
    package mutating func remove(_ id: RequestID) {
        waiting.removeAll { $0.id == id }
        prefilling.removeAll { $0.id == id }
        decoding.removeAll { $0 == id }
    }

    /// The next step. It counts as done: a request whose step fails is to be removed.
    package mutating func next() -> Step {
        let admitted = min(waiting.count, limits.sequences - runningCount)
        prefilling += waiting.prefix(admitted)
        waiting.removeFirst(admitted)

        var step = Step(decoding: decoding)
        var budget = limits.prefillTokens
        var scoredBudget = limits.scoredTokens
        var untouched: [Prompt] = []
        var begun: [Prompt] = []
        for var prompt in prefilling {
            let tokens = min(prompt.tokens, budget, prompt.isScored ? scoredBudget : budget)
            guard tokens > 0 else {
                untouched.append(prompt)
                continue
            }
            step.chunks.append(Prompt(id: prompt.id, tokens: tokens, isScored: prompt.isScored))
            budget -= tokens
            if prompt.isScored { scoredBudget -= tokens }
            prompt.tokens -= tokens
            if prompt.tokens > 0 { begun.append(prompt) } else { decoding.append(prompt.id) }
        }
        prefilling = untouched + begun
        return step
    }
}
