import Checkpoints
import Kernels

/// Chooses each row's experts: top-k on raw logits, then a softmax over those k alone.
struct Router {
    let linear: Linear
    let expertsPerToken: Int

    /// Writes, for one row, the chosen experts in descending order of logit (ties: the lower index first) and their
    /// routing weights.
    func choose(
        logits: UnsafePointer<Float>, experts: UnsafeMutablePointer<Int32>, weights: UnsafeMutablePointer<Float>
    ) {
        for rank in 0..<expertsPerToken {
            var best = -1
            for expert in 0..<linear.outputs where !(0..<rank).contains(where: { experts[$0] == Int32(expert) }) {
                if best < 0 || logits[expert] > logits[best] { best = expert }
            }
            experts[rank] = Int32(best)
        }
        var sum: Float = 0
        for rank in 0..<expertsPerToken {
            weights[rank] = shoal_exp(logits[Int(experts[rank])] - logits[Int(experts[0])])
            sum += weights[rank]
        }
        for rank in 0..<expertsPerToken { weights[rank] /= sum }
    }
}
