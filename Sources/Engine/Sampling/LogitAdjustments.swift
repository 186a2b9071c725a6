/// What changes the logits of single tokens before the others count: bias, penalties, and the ban on stop tokens before
/// `minTokens`.
struct LogitAdjustments: Sendable {
    private let bias: [Int32: Float]
    private let repetitionPenalty: Float
    private let frequencyPenalty: Float
    private let presencePenalty: Float
    private let stopTokens: Set<Int32>
    private let minTokens: Int
    private var generated = 0
    /// Tokens that a penalty may touch, each once, and how often each was generated.
    private var seen: [(id: Int32, count: Float)] = []
    private var indices: [Int32: Int] = [:]

    init(_ request: GenerationRequest) {
        let sampling = request.sampling
        bias = sampling.logitBias
        repetitionPenalty = sampling.repetitionPenalty
        frequencyPenalty = sampling.frequencyPenalty
        presencePenalty = sampling.presencePenalty
        stopTokens = request.stopTokens
        minTokens = request.minTokens
        if repetitionPenalty != 1 {
            for token in request.prompt { _ = index(of: token) }
        }
    }

    private var penalizes: Bool { repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0 }

    mutating func accept(_ token: Int32) {
        generated += 1
        if penalizes { seen[index(of: token)].count += 1 }
    }

    private mutating func index(of token: Int32) -> Int {
        if let index = indices[token] { return index }
        indices[token] = seen.count
        seen.append((token, 0))
        return seen.count - 1
    }

    /// Changes a row of logits. What is NaN or infinite stays so. Where stop tokens are the whole vocabulary none is
    /// banned: something must be drawn.
    func apply(to logits: UnsafeMutableBufferPointer<Float>) {
        for (id, bias) in bias where logits.indices.contains(Int(id)) { logits[Int(id)] += bias }
        for (id, count) in seen where logits.indices.contains(Int(id)) {
            logits[Int(id)] = penalized(logits[Int(id)], count: count)
        }
        guard generated < minTokens else { return }
        let banned = stopTokens.filter { logits.indices.contains(Int($0)) }
        guard banned.count < logits.count else { return }
        for id in banned where logits[Int(id)] < .infinity { logits[Int(id)] = -.infinity }
    }

    private func penalized(_ logit: Float, count: Float) -> Float {
        guard logit.isFinite else { return logit }
        var result = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
        result -= frequencyPenalty * count
        if count > 0 { result -= presencePenalty }
        // A penalty near 0 or infinity may leave the numbers; its token is then as likely as can be, or as unlikely.
        return min(max(result, -.greatestFiniteMagnitude), .greatestFiniteMagnitude)
    }
}
