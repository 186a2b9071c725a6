package import Checkpoints
import Foundation

/// YaRN-scaled rotary position embedding (arXiv 2309.00071, section 3), as transformers' `_compute_yarn_parameters`.
package struct RotaryEmbedding: Sendable {
    /// Angle per position of each pair (i, i + d/2): [headDimension / 2].
    package let inverseFrequencies: [Float]
    /// The factor on both cosine and sine.
    package let attentionScaling: Float

    package init(config: ModelConfig) {
        let rope = config.rope
        let half = config.headDimension / 2
        let dimension = Double(config.headDimension)

        // The dimension whose wavelength makes `rotations` turns within the original context.
        func boundary(_ rotations: Double) -> Double {
            dimension * log(Double(rope.originalMaxPositions) / (rotations * 2 * .pi)) / (2 * log(rope.theta))
        }
        var low = boundary(rope.betaFast)
        var high = boundary(rope.betaSlow)
        if rope.truncate { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        low = max(low, 0)
        high = min(high, dimension - 1)
        if low == high { high += 0.001 }

        inverseFrequencies = (0..<half).map { i in
            let extrapolated = 1 / pow(rope.theta, 2 * Double(i) / dimension)
            let interpolated = extrapolated / rope.factor
            let ramp = min(max((Double(i) - low) / (high - low), 0), 1)
            return Float(interpolated * ramp + extrapolated * (1 - ramp))
        }
        attentionScaling = Float(rope.factor > 1 ? 0.1 * log(rope.factor) + 1 : 1)
    }

    /// Writes the scaled cosines and sines of one position: [headDimension / 2] each.
    func write(position: Int, cosines: UnsafeMutablePointer<Float>, sines: UnsafeMutablePointer<Float>) {
        for (i, frequency) in inverseFrequencies.enumerated() {
            // The angle is rounded to float32, as the reference does; its cosine is then taken in full.
            let angle = Double(Float(position) * frequency)
            cosines[i] = Float(cos(angle)) * attentionScaling
            sines[i] = Float(sin(angle)) * attentionScaling
        }
    }
}
