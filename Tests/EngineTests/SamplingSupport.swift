import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// Calls `body` with the row of `logits`.
func withRow<Result>(_ logits: [Float], _ body: (LogitRow?) throws -> Result) throws -> Result {
    let kernels = try selectedKernels()
    return try logits.withUnsafeBufferPointer { try body(LogitRow($0, kernels: kernels)) }
}

/// Normally distributed logits (Box and Muller).
func randomLogits(_ count: Int, deviation: Double, _ generator: inout SeededGenerator) -> [Float] {
    (0..<count).map { _ in
        let radius = (-2 * log(Double.random(in: 0x1p-60...1, using: &generator))).squareRoot()
        return Float(deviation * radius * cos(.random(in: 0..<2 * .pi, using: &generator)))
    }
}

/// A request of which only what concerns sampling matters.
func sampling(_ parameters: SamplingParameters, prompt: [Int32] = [0]) -> GenerationRequest {
    GenerationRequest(prompt: prompt, sampling: parameters)
}

extension TokenSampler {
    /// A draw from a copy of `logits`.
    func draw(_ logits: [Float], position: Int = 0) throws -> ScoredToken? {
        var copy = logits
        let kernels = try selectedKernels()
        return copy.withUnsafeMutableBufferPointer { sample($0, position: position, kernels: kernels) }
    }
}

/// What sampling is, in plain words: sort everything, in Double.
struct PlainSampling {
    var parameters: SamplingParameters
    var prompt: [Int32] = []
    var generated: [Int32] = []
    var banned: Set<Int32> = []

    /// The logits after bias, penalties, bans and temperature, relative to the largest; minus infinity for what is banned.
    private func scaled(_ logits: [Float]) -> [Double] {
        let adjusted = logits.indices.map { id -> Double in
            let token = Int32(id)
            var logit = Double(logits[id]) + Double(parameters.logitBias[token] ?? 0)
            let count = Double(generated.count { $0 == token })
            if count > 0 || prompt.contains(token) {
                let penalty = Double(parameters.repetitionPenalty)
                logit = logit > 0 ? logit / penalty : logit * penalty
            }
            logit -= Double(parameters.frequencyPenalty) * count
            if count > 0 { logit -= Double(parameters.presencePenalty) }
            return banned.contains(token) ? -.infinity : logit
        }
        let largest = adjusted.max() ?? 0
        return adjusted.map { ($0 - largest) / Double(parameters.temperature) }
    }

    /// The probability of every token; 0 for those that are not kept. Tokens whose weight is nothing in a Float are not.
    func probabilities(_ logits: [Float]) -> [Double] {
        let scaled = scaled(logits)
        let weights = scaled.map { exp($0) }
        var order = logits.indices.filter { scaled[$0] > -87.3 }.sorted { (-scaled[$0], $0) < (-scaled[$1], $1) }
        if parameters.topK > 0 { order = Array(order.prefix(parameters.topK)) }
        if parameters.topP < 1 {
            let target = Double(parameters.topP) * order.reduce(0) { $0 + weights[$1] }
            var sum = 0.0
            order = Array(
                order.prefix { id in
                    defer { sum += weights[id] }
                    return sum < target
                })
        }
        order = order.filter { weights[$0] >= Double(parameters.minP) * weights[order[0]] }
        let sum = order.reduce(0) { $0 + weights[$1] }
        var probabilities = [Double](repeating: 0, count: logits.count)
        for id in order { probabilities[id] = weights[id] / sum }
        return probabilities
    }

    /// Pearson's statistic, tokens expected less than 25 times pooled, in standard deviations from its mean.
    static func deviation(_ counts: [Int], _ probabilities: [Double]) -> Double {
        let draws = Double(counts.reduce(0, +))
        var statistic = 0.0
        var cells = 0.0
        var pooled = (count: 0.0, expected: 0.0)
        func add(_ count: Double, _ expected: Double) {
            statistic += (count - expected) * (count - expected) / expected
            cells += 1
        }
        for (count, probability) in zip(counts, probabilities) {
            let expected = probability * draws
            if expected >= 25 {
                add(Double(count), expected)
            } else {
                pooled.count += Double(count)
                pooled.expected += expected
            }
        }
        if pooled.expected > 1 { add(pooled.count, pooled.expected) }
        return (statistic - (cells - 1)) / max(2 * (cells - 1), 1).squareRoot()
    }
}
