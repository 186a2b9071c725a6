import Kernels

extension LogitRow {
    /// Draws from all tokens: finds the block, then the id, at which the masses before it exceed their share `uniform`.
    func draw(uniform: Double) -> Int32 {
        draw(uniform: uniform, mass: mass, masses: blocks.lazy.map(\.mass)) { shoal_exp(logits[$0] - maximum) }
    }

    /// The same from other weights with these masses per block.
    func draw(
        uniform: Double, mass: Double, masses: some Swift.Sequence<Double>, weight: (Int) -> Float
    ) -> Int32 {
        var target = uniform * mass
        for (block, mass) in zip(blocks, masses) {
            guard target < mass else {
                target -= mass
                continue
            }
            for id in block.ids {
                let weight = Double(weight(id))
                if target < weight { return Int32(truncatingIfNeeded: id) }
                target -= weight
            }
        }
        // A block's mass and the sum of its weights differ by rounding, so the target may lie beyond the last one.
        return mostLikely
    }
}
