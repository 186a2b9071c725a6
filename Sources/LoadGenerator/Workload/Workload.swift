/// What is asked of the server. Every request follows from the seed and its own number alone, whichever client sends it
/// and when.
public struct Workload: Sendable, Equatable {
    /// How much of each prompt is common to the requests.
    public enum SharedPrefix: Sendable, Equatable {
        /// This share of each prompt, from 0 to 1.
        case fraction(Double)
        /// So many tokens, or the whole prompt where it is shorter.
        case tokens(Int)
    }

    /// Lengths of prompts.
    public var inputTokens = LengthDistribution.constant(128)
    /// What `max_tokens` says.
    public var outputTokens = LengthDistribution.constant(64)
    /// The ids that prompts are made of.
    public var tokenRange = 1000...100_000
    /// The common part of the prompts.
    public var sharedPrefix = SharedPrefix.tokens(0)
    /// Different common parts, each as likely; at least 1.
    public var prefixes = 1
    /// The share of requests whose connection is closed at a random moment, from 0 to 1.
    public var cancelledShare = 0.0
    /// Which of all workloads of this description.
    public var seed: UInt64

    /// The defaults, under a seed.
    public init(seed: UInt64) {
        self.seed = seed
    }

    /// One request as it is planned.
    package struct Request: Sendable, Equatable {
        package var prompt: [Int]
        package var outputTokens: Int
        package var cancellation: Cancellation?
    }

    /// The moment at which a client goes away.
    package enum Cancellation: Sendable, Equatable {
        /// Seconds after sending, whatever has come: while the request waits, is prefilled or already decodes.
        case afterSeconds(Double)
        /// Once so many chunks with text have come.
        case afterChunks(Int)
    }

    /// Request `index` of a phase. Lengths and cancellations are alike in all phases; what is not shared of a prompt
    /// differs, or else a prefix cache would know the second phase's prompts from the first.
    package func request(_ index: Int, phase: Int) -> Request {
        let number = UInt64(truncatingIfNeeded: index)
        var random = SeededRandom(seed, 1, number)
        let inputLength = inputTokens.sample(&random)
        let outputLength = outputTokens.sample(&random)
        let prefix = UInt64.random(in: 0..<UInt64(max(1, prefixes)), using: &random)
        let isCancelled = random.uniform() < cancelledShare
        let isTimed = random.uniform() < 0.5
        let moment = random.uniform()
        let cancellation: Cancellation =
            isTimed ? .afterSeconds(moment) : .afterChunks(1 + Int(moment * Double(outputLength)))

        var shared = SeededRandom(seed, 2, prefix)
        var own = SeededRandom(seed, 3, UInt64(truncatingIfNeeded: phase), number)
        let sharedLength = sharedLength(of: inputLength)
        let prompt = (0..<inputLength).map { position in
            position < sharedLength
                ? Int.random(in: tokenRange, using: &shared) : Int.random(in: tokenRange, using: &own)
        }
        return Request(
            prompt: prompt, outputTokens: outputLength, cancellation: isCancelled ? cancellation : nil)
    }

    private func sharedLength(of length: Int) -> Int {
        switch sharedPrefix {
        case .fraction(let share): Int((Double(length) * min(max(share, 0), 1)).rounded())
        case .tokens(let count): min(length, count)
        }
    }
}
