import Foundation
import Kernels
package import Transformer

/// The logits of one position, with what a single pass gives: the maximum and the mass of every block of the vocabulary.
/// All that follows (the most likely tokens, log-probabilities, a draw) then looks into few blocks only.
///
/// Decisions rest on `shoal_exp` and IEEE additions in a fixed order, so they are the same on every machine. The logits
/// are the caller's memory and must outlive the value.
package struct LogitRow {
    /// Consecutive ids, with their largest logit and Σ exp(logit - the row's maximum).
    struct Block {
        var ids: Range<Int>
        var maximum: Float
        var mass: Double
    }

    static let blockSize = 512

    let logits: UnsafeBufferPointer<Float>
    let kernels: Kernels
    let blocks: [Block]
    let maximum: Float
    /// Σ exp(logit - maximum), at least about 1.
    let mass: Double

    /// Nil where a logit is NaN or infinite, or there is none that is a number; minus infinity is a token ruled out.
    package init?(_ logits: UnsafeBufferPointer<Float>, kernels: Kernels) {
        guard let base = logits.baseAddress else { return nil }
        var sums: [Block] = []
        sums.reserveCapacity((logits.count + Self.blockSize - 1) / Self.blockSize)
        for start in stride(from: 0, to: logits.count, by: Self.blockSize) {
            let end = min(start + Self.blockSize, logits.count)
            var maximum: Float = 0
            var sum: Float = 0
            kernels.pointee.max_and_sum_exp(base + start, end - start, &maximum, &sum)
            if maximum == -.infinity, logits[start..<end].allSatisfy({ $0 == -.infinity }) { sum = 0 }
            guard maximum < .infinity, sum.isFinite else { return nil }
            sums.append(Block(ids: start..<end, maximum: maximum, mass: Double(sum)))
        }
        guard let maximum = sums.lazy.map(\.maximum).max(), maximum.isFinite else { return nil }
        var mass = 0.0
        for index in sums.indices {
            sums[index].mass *= Double(shoal_exp(sums[index].maximum - maximum))
            mass += sums[index].mass
        }
        self.logits = logits
        self.kernels = kernels
        self.blocks = sums
        self.maximum = maximum
        self.mass = mass
    }

    /// The most likely token; of equals the lowest id.
    package var mostLikely: Int32 {
        let ids = blocks.first { $0.maximum == maximum }?.ids ?? 0..<logits.count
        return Int32(truncatingIfNeeded: ids.first { logits[$0] == maximum } ?? 0)
    }

    /// Natural log-probability of `id`, which is in the vocabulary.
    package func logprob(of id: Int32) -> Float { logprob(logit: logits[Int(id)]) }

    private func logprob(logit: Float) -> Float { Float(Double(logit) - Double(maximum) - log(mass)) }

    /// The `count` most likely tokens, descending, ties by ascending id.
    package func top(_ count: Int) -> [ScoredToken.Alternative] {
        guard count > 0 else { return [] }
        var best: [(id: Int, logit: Float)] = []
        best.reserveCapacity(min(count, logits.count) + 1)
        var threshold = -Float.infinity
        for block in blocks where block.maximum > threshold {
            for id in block.ids where logits[id] > threshold {
                let logit = logits[id]
                best.insert((id, logit), at: best.partitioningIndex { $0.logit < logit })
                if best.count > count { best.removeLast() }
                if best.count == count { threshold = best[count - 1].logit }
            }
        }
        return best.map {
            ScoredToken.Alternative(id: Int32(truncatingIfNeeded: $0.id), logprob: logprob(logit: $0.logit))
        }
    }

    /// The place of `id` among all tokens in descending order of probability, ties by ascending id: 1 for the most
    /// likely.
    package func rank(of id: Int32) -> Int {
        let logit = logits[Int(id)]
        var rank = 1
        for block in blocks where block.maximum >= logit {
            // Without branches, which no processor can foresee where all are about as likely.
            for other in block.ids { rank += logits[other] > logit ? 1 : 0 }
            for other in block.ids where other < id { rank += logits[other] == logit ? 1 : 0 }
        }
        return rank
    }

    /// `id` with its log-probability, its rank, and the `count` most likely tokens; without any where `count` is nil.
    package func scored(_ id: Int32, top count: Int?) -> ScoredToken {
        guard let count else { return ScoredToken(id: id) }
        return ScoredToken(id: id, logprob: logprob(of: id), rank: rank(of: id), top: top(count))
    }
}

extension Array {
    /// The first index whose element fulfils `predicate`; all that do stand behind all that do not.
    fileprivate func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = low + (high - low) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
