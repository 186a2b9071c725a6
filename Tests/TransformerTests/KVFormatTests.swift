import Checkpoints
import Foundation
import TestSupport
import Testing
import Transformer

/// How far the next-token distributions move when keys and values are held in fewer bits.
@Suite struct KVFormatTests {
    @Test("distance of bf16 and int8 keys and values, as KL divergence", arguments: Reference.all)
    func distance(reference: Reference) throws {
        let exact = try Transformer(checkpoint: reference.checkpoint, precision: .exact, threads: 2)
        let bf16 = try Transformer(checkpoint: reference.checkpoint, precision: .bf16, threads: 2)
        let int8 = try Transformer(checkpoint: reference.checkpoint, precision: .int8, threads: 2)
        func distributions(_ model: Transformer, _ format: KVFormat) throws -> [[Double]] {
            try reference.prompts.flatMap { prompt in
                let logits = try model.run(prompt.tokens, kvFormat: format)
                let size = reference.config.vocabularySize
                return prompt.tokens.indices.map { logSoftmax(logits[$0 * size..<($0 + 1) * size]) }
            }
        }
        let wanted = try distributions(exact, .float32)
        let inBF16 = try distributions(exact, .bf16)
        let inInt8 = try distributions(exact, .int8)
        let bf16KV = Divergence(from: wanted, to: inBF16)
        let int8KV = Divergence(from: wanted, to: inInt8)
        let bf16Precision = Divergence(from: wanted, to: try distributions(bf16, .bf16))
        let int8Precision = Divergence(from: wanted, to: try distributions(int8, .bf16))
        print(
            """
            \(reference), KL divergence of next-token distributions over \(wanted.count) positions, in nats:
              exact precision, from float32 to bf16 keys and values: \(bf16KV)
              exact precision, from float32 to int8 keys and values: \(int8KV)
              exact precision, from bf16 to int8 keys and values:    \(Divergence(from: inBF16, to: inInt8))
              from all that to bf16 precision with bf16: \(bf16Precision)
              from all that to int8 precision with bf16: \(int8Precision)
              from all that to int8 precision with int8: \(Divergence(from: wanted, to: try distributions(int8, .int8)))
            """)
        // A block's values are rounded to a step of 1/127 of its largest, so for the normal distribution the error is
        // three times bf16's, and its square, which the divergence follows, nine times; 7 to 14 are measured. One bit
        // fewer would quadruple it. The median, because at a few positions another expert is chosen, and the mean is
        // theirs.
        #expect(int8KV.median > bf16KV.median && int8KV.median < 20 * bf16KV.median)
        // Activations in bfloat16 beside keys and values in it: a few roundings more of the same size in each layer.
        #expect(bf16Precision.median > bf16KV.median && bf16Precision.median < int8Precision.median)
    }

    /// Σ p ln(p / q) of natural log-probabilities at many positions.
    private struct Divergence: CustomStringConvertible {
        let mean, median, maximum: Double

        init(from p: [[Double]], to q: [[Double]]) {
            let each = zip(p, q).map { zip($0, $1).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) } }.sorted()
            mean = each.reduce(0, +) / Double(max(1, each.count))
            median = each.isEmpty ? 0 : each[each.count / 2]
            maximum = each.last ?? 0
        }

        var description: String { String(format: "mean %.1e, median %.1e, max %.1e", mean, median, maximum) }
    }
}
