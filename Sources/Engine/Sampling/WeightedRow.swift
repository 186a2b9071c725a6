import Kernels

/// A row of logits with exp((logit - maximum) / temperature) of every token. The memory of both is the caller's.
package struct WeightedRow {
    let row: LogitRow
    private(set) var weights: UnsafeMutableBufferPointer<Float>
    /// Of the row's blocks.
    private var masses: [Double]

    /// Σ weights.
    var mass: Double { masses.reduce(0, +) }

    /// - Parameter memory: As large as the row; what it holds is overwritten.
    package init(_ row: LogitRow, temperature: Float, memory: UnsafeMutableBufferPointer<Float>) {
        self.row = row
        weights = memory
        masses = row.blocks.map { block in
            guard let x = row.logits.baseAddress, let out = memory.baseAddress else { return 0 }
            let start = block.ids.lowerBound
            var sum: Float = 0
            row.kernels.pointee.exp_weights(x + start, block.ids.count, row.maximum, temperature, out + start, &sum)
            return Double(sum)
        }
    }

    /// Takes their weight from tokens less likely than `last`, and from those that weigh less than `floor`.
    mutating func keep(upTo last: LastToken, floor: Float) {
        masses = row.blocks.map { block in
            // Of tokens as likely as the last one, those up to its id.
            let ties = min(max(last.id + 1, block.ids.lowerBound), block.ids.upperBound)
            return keep(block.ids.lowerBound..<ties, least: last.logit, floor)
                + keep(ties..<block.ids.upperBound, least: last.logit.nextUp, floor)
        }
    }

    private func keep(_ ids: Range<Int>, least: Float, _ floor: Float) -> Double {
        guard let x = row.logits.baseAddress, let weights = weights.baseAddress else { return 0 }
        var sum: Float = 0
        row.kernels.pointee.keep_weights(
            x + ids.lowerBound, ids.count, least, floor, weights + ids.lowerBound, &sum)
        return Double(sum)
    }

    /// Draws from the tokens that have weight.
    func draw(uniform: Double) -> Int32 {
        row.draw(uniform: uniform, mass: mass, masses: masses) { weights[$0] }
    }
}
