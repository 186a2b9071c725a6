import Checkpoints
import Kernels
public import Transformer

/// What the model makes of one of the given tokens.
public struct PositionScore: Sendable, Equatable {
    /// Its index among the given tokens.
    public let position: Int
    /// The token at that position.
    public let token: Int32
    /// Natural log-probability of the token that follows in what was given; nil at the end.
    public let nextLogprob: Float?
    /// The most likely next tokens, descending, ties by ascending id.
    public let top: [ScoredToken.Alternative]
    /// [layer][rank]: the chosen experts, in descending order of router logit.
    public let experts: [[Int32]]
}

/// Scores given tokens position by position, outside any engine.
/// - Parameters:
///   - top: How many of the most likely next tokens to list.
///   - kvFormat: How keys and values are held; nil: as the transformer prefers.
///   - visit: Takes each position's logits, [vocabulary], in order.
/// - Throws: ``EngineError`` for tokens that the model cannot take; what the forward pass or `visit` throws.
public func score(
    _ tokens: [Int32], top: Int, transformer: Transformer, experts: any ExpertExecutor, kvFormat: KVFormat? = nil,
    visit: (UnsafeBufferPointer<Float>) throws -> Void = { _ in }
) throws -> [PositionScore] {
    let config = transformer.config
    try GenerationRequest(prompt: tokens, maxTokens: 0)
        .validate(contextLength: config.maxPositions, vocabularySize: config.vocabularySize)
    let recorder = ExpertRecorder(layers: config.layerCount)
    transformer.observer = recorder
    defer { transformer.observer = nil }

    let cache = try transformer.makeCache(format: kvFormat)
    var scores: [PositionScore] = []
    // A row of logits is large (0.8 MB in gpt-oss), so few positions at a time.
    for start in stride(from: 0, to: tokens.count, by: 64) {
        let chunk = Array(tokens[start..<min(start + 64, tokens.count)])
        let segment = cache.segment(chunk, logits: .all)
        try transformer.forward([segment], experts: experts) { logits in
            for (index, token) in chunk.enumerated() {
                let slice = logits[index * config.vocabularySize..<(index + 1) * config.vocabularySize]
                guard let row = LogitRow(UnsafeBufferPointer(rebasing: slice), kernels: transformer.kernels) else {
                    throw EngineError(.internalError, "the logits at position \(start + index) are not finite")
                }
                try visit(UnsafeBufferPointer(rebasing: slice))
                let next = start + index + 1
                scores.append(
                    PositionScore(
                        position: start + index, token: token,
                        nextLogprob: next < tokens.count ? row.logprob(of: tokens[next]) : nil, top: row.top(top),
                        experts: recorder.experts(row: index, perToken: config.expertsPerToken)))
            }
        }
    }
    return scores
}

/// Keeps the experts chosen in the latest forward pass.
private final class ExpertRecorder: ForwardObserver {
    private var chosen: [[Int32]]

    init(layers: Int) {
        chosen = Array(repeating: [], count: layers)
    }

    func observe(_ observation: Observation, layer: Int, values: UnsafeBufferPointer<Float>, rows: Int) {}

    func observe(experts: UnsafeBufferPointer<Int32>, layer: Int, rows: Int) { chosen[layer] = Array(experts) }

    func experts(row: Int, perToken: Int) -> [[Int32]] {
        chosen.map { Array($0[row * perToken..<(row + 1) * perToken]) }
    }
}
