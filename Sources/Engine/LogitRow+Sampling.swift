import Kernels

extension LogitRow {
    /// Draws the token of `position` in a sequence with `seed`.
    package func sample(_ parameters: SamplingParameters, seed: UInt64, position: Int) -> Int32 {
        if parameters.temperature == 0 || parameters.topP == 0 { return mostLikely }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { memory in
            // Relative to the maximum, so that no temperature can overflow: the most likely token stays at 0. Beyond
            // -128 the exponential is 0 anyway, and a finite number keeps the sums finite.
            for id in logits.indices {
                memory.initializeElement(at: id, to: max((logits[id] - maximum) / parameters.temperature, -128))
            }
            guard let scaled = LogitRow(UnsafeBufferPointer(memory), kernels: kernels) else { return mostLikely }
            let uniform = Philox.uniform(seed: seed, position: position)
            return parameters.topP < 1
                ? scaled.drawNucleus(topP: Double(parameters.topP), uniform: uniform) : scaled.draw(uniform: uniform)
        }
    }

    /// Inverts the cumulative distribution in order of ids: block by block, then within one block.
    private func draw(uniform: Double) -> Int32 {
        var target = uniform * mass
        for block in blocks {
            guard target < block.mass else {
                target -= block.mass
                continue
            }
            for id in block.ids {
                let weight = Double(shoal_exp(logits[id] - maximum))
                if target < weight { return Int32(truncatingIfNeeded: id) }
                target -= weight
            }
        }
        // A block's mass and the sum of its weights differ by rounding, so the target may lie beyond the last one.
        return mostLikely
    }

    /// The same among the most likely tokens whose probabilities reach `topP`.
    private func drawNucleus(topP: Double, uniform: Double) -> Int32 {
        // All tokens below the threshold together weigh less than what may be left out, so the nucleus lies above it.
        var threshold: Float = 0
        while Double(shoal_exp(threshold)) * Double(logits.count) > (1 - topP) * mass { threshold -= 1 }
        var candidates: [Candidate] = []
        for block in blocks where block.maximum >= threshold {
            for id in block.ids where logits[id] >= threshold {
                candidates.append(
                    Candidate(
                        id: Int32(truncatingIfNeeded: id), logit: logits[id], weight: shoal_exp(logits[id] - maximum)))
            }
        }
        let nucleus = candidates.selectMostLikely(reaching: topP * mass)
        var target = uniform * nucleus.reduce(0) { $0 + Double($1.weight) }
        for candidate in nucleus {
            if target < Double(candidate.weight) { return candidate.id }
            target -= Double(candidate.weight)
        }
        return mostLikely
    }
}

/// A token that may belong to the nucleus.
private struct Candidate {
    var id: Int32
    var logit: Float
    var weight: Float

    /// Descending by logit, ties by ascending id: no two are equal.
    static func precedes(_ left: Candidate, _ right: Candidate) -> Bool {
        left.logit != right.logit ? left.logit > right.logit : left.id < right.id
    }
}

extension [Candidate] {
    /// The fewest most likely candidates whose weights reach `mass`, at least one, in no particular order. Quickselect
    /// (Hoare's FIND) by weight: linear on average, where sorting a flat distribution over the whole vocabulary is not.
    fileprivate mutating func selectMostLikely(reaching mass: Double) -> ArraySlice<Candidate> {
        var missing = mass
        var low = startIndex
        var high = endIndex
        while low < high {
            swapAt(low + (high - low) / 2, high - 1)
            let pivot = self[high - 1]
            var split = low
            var weight = 0.0
            for index in low..<high - 1 where Candidate.precedes(self[index], pivot) {
                weight += Double(self[index].weight)
                swapAt(index, split)
                split += 1
            }
            swapAt(split, high - 1)
            if weight >= missing {
                high = split
            } else {
                missing -= weight + Double(pivot.weight)
                low = split + 1
                if missing <= 0 { break }
            }
        }
        return prefix(Swift.max(low, 1))
    }
}
