package import Transformer

/// Draws the tokens of one sequence. What it draws for a position depends on the logits, the request, the tokens
/// accepted so far and the seed alone.
package struct TokenSampler: Sendable {
    /// The request's, or one drawn for it.
    package let seed: UInt64
    private let parameters: SamplingParameters
    private let topLogprobs: Int?
    private var adjustments: LogitAdjustments

    /// - Parameter generated: What the sequence has generated already.
    package init(_ request: GenerationRequest, generated: [Int32] = []) {
        seed = request.sampling.seed ?? .random(in: .min ... .max)
        parameters = request.sampling
        topLogprobs = request.topLogprobs
        adjustments = LogitAdjustments(request)
        for token in generated { accept(token) }
    }

    /// Takes note of the token that was generated.
    package mutating func accept(_ token: Int32) { adjustments.accept(token) }

    /// The token of `position`, with the log-probabilities asked for; nil where a logit is NaN or infinite, or the model
    /// rules every token out.
    /// - Parameter logits: One row [vocabularySize]. Bias and penalties are left in it.
    package func sample(
        _ logits: UnsafeMutableBufferPointer<Float>, position: Int, kernels: Kernels
    ) -> ScoredToken? {
        guard let topLogprobs else {
            return draw(logits, position: position, kernels: kernels).map { ScoredToken(id: $0) }
        }
        // Bias and penalties change the row; what is reported is as the model computed it.
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { copy in
            _ = copy.initialize(from: logits)
            guard let row = LogitRow(UnsafeBufferPointer(copy), kernels: kernels),
                let id = draw(logits, position: position, kernels: kernels)
            else { return nil }
            return row.scored(id, top: topLogprobs)
        }
    }

    private func draw(_ logits: UnsafeMutableBufferPointer<Float>, position: Int, kernels: Kernels) -> Int32? {
        adjustments.apply(to: logits)
        guard let row = LogitRow(UnsafeBufferPointer(logits), kernels: kernels) else { return nil }
        guard parameters.temperature > 0, parameters.topP > 0, parameters.topK != 1 else { return row.mostLikely }
        let uniform = Philox.uniform(seed: seed, position: position)
        if parameters.temperature == 1 && !parameters.truncates { return row.draw(uniform: uniform) }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { memory in
            var weighted = WeightedRow(row, temperature: parameters.temperature, memory: memory)
            if parameters.truncates { weighted.truncate(parameters) }
            return weighted.draw(uniform: uniform)
        }
    }
}
