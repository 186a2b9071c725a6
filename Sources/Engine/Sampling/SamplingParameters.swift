/// How the next token is drawn, in this order: logit bias, then repetition, frequency and presence penalties, then
/// temperature, top-k, top-p and min-p. Where the model's log-probabilities are reported, they are those before all of
/// this.
public struct SamplingParameters: Sendable, Equatable {
    /// Added to the logits of single tokens, -100...100 each.
    public var logitBias: [Int32: Float] = [:]
    /// A positive logit of a token that the prompt or the answer holds already is divided by this, a negative one
    /// multiplied (Keskar and others 2019, arXiv 1909.05858); above 0, and 1 changes nothing.
    public var repetitionPenalty: Float = 1
    /// Subtracted from a token's logit as often as the answer holds it already, -2...2.
    public var frequencyPenalty: Float = 0
    /// Subtracted once from the logits of tokens that the answer holds already, -2...2.
    public var presencePenalty: Float = 0
    /// Divides the logits; 0 is greedy: the most likely token, of equals the one with the lowest id.
    public var temperature: Float = 1
    /// Draws among so many most likely tokens, of equals those with the lowest ids; 0 or -1: among all.
    public var topK = 0
    /// Draws among the fewest most likely tokens that have this share of the probability that top-k leaves; at least
    /// one.
    public var topP: Float = 1
    /// Draws among tokens at least this many times as likely as the most likely one, 0...1 (Nguyen and others 2024,
    /// arXiv 2407.01082).
    public var minP: Float = 0
    /// With a seed the same request yields the same tokens, whatever else runs. Without one the engine draws one.
    public var seed: UInt64?

    /// Plain sampling from the model's distribution, where nothing else is said.
    public init(temperature: Float = 1, topP: Float = 1, seed: UInt64? = nil) {
        self.temperature = temperature
        self.topP = topP
        self.seed = seed
    }
}
