/// What is asked of the engine.
public struct GenerationRequest: Sendable {
    /// Token ids, at least one.
    public var prompt: [Int32]
    /// How tokens are drawn.
    public var sampling: SamplingParameters
    /// At most this many tokens; 0 only scores the prompt. Nil: as many as the context allows.
    public var maxTokens: Int?
    /// Tokens that end the generation; the one that did is the last token of the sequence.
    public var stopTokens: Set<Int32>
    /// Before so many tokens are generated, no stop token is drawn, unless every token is one.
    public var minTokens = 0
    /// Log-probability of each token and of this many most likely alternatives; nil: none.
    public var topLogprobs: Int?
    /// The same for each prompt token but the first; nil: none.
    public var promptLogprobs: Int?

    /// Whose request it is, such as an API key: those that wait are admitted fairly among these.
    public var tenant = ""
    /// Among those of one tenant that wait, a request with a lower number comes first, as in vLLM.
    public var priority = 0
    /// The keys and values of a prompt's beginning are reused among requests with the same salt only.
    public var cacheSalt = ""
    /// When the request ends with an error unless it has ended before; nil: never.
    public var deadline: ContinuousClock.Instant?

    /// A request; only the prompt has no default.
    public init(
        prompt: [Int32], sampling: SamplingParameters = SamplingParameters(), maxTokens: Int? = nil,
        stopTokens: Set<Int32> = [], topLogprobs: Int? = nil, promptLogprobs: Int? = nil
    ) {
        self.prompt = prompt
        self.sampling = sampling
        self.maxTokens = maxTokens
        self.stopTokens = stopTokens
        self.topLogprobs = topLogprobs
        self.promptLogprobs = promptLogprobs
    }
}
