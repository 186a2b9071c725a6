extension Placement {
    /// A replica of a held expert is worth this much more than one that has to be loaded.
    private static let worthOfLoaded = 1.25

    /// Adds replicas as far as memory goes.
    /// - Parameters:
    ///   - copies: how many workers are to hold each expert. Nil lets its load decide: two, and more where with two each
    ///     of them would bear more of the layer's rows than a worker's even part.
    ///   - loads: [layers][experts], relative to the layer's mean; empty where all are alike. Where memory does not
    ///     suffice, the experts of which each copy bears the most come first.
    package func replicated(epoch: UInt64, copies: Int?, loads: [Double] = []) -> Placement {
        var result = self
        result.epoch = epoch
        result.replicate(copies: copies, loads: loads, held: holders, mayLoad: true)
        return result
    }

    /// - Parameters:
    ///   - held: [layers][experts], who has an expert in memory.
    ///   - mayLoad: whether somebody else may be given it too.
    mutating func replicate(copies: Int?, loads: [Double], held: [[Int]], mayLoad: Bool) {
        var counts = self.counts
        var borne = (0..<shape.layers).map { burdens(layer: $0, loads) }
        for slot in slots(copies: copies, loads: loads, held: held) where holders[slot.pair].count == slot.copy {
            let holders = self.holders[slot.pair]
            let layer = slot.pair / shape.experts
            func best(_ isEligible: (Int) -> Bool) -> Int? {
                candidates.indices.filter {
                    counts[$0] < candidates[$0].capacity && !holders.contains($0) && isEligible($0)
                }.min {
                    let (one, other) = (Double(candidates[$0].weight), Double(candidates[$1].weight))
                    // Every layer is spread as evenly as the whole, for they are computed one after another.
                    return (borne[layer][$0] / one, Double(counts[$0] + 1) / one)
                        < (borne[layer][$1] / other, Double(counts[$1] + 1) / other)
                }
            }
            guard let index = best(held[slot.pair].contains) ?? (mayLoad ? best { _ in true } : nil) else { continue }
            let load = loads.isEmpty ? 1 : loads[slot.pair]
            for holder in holders { borne[layer][holder] -= load / Double(slot.copy * (slot.copy + 1)) }
            borne[layer][index] += load / Double(slot.copy + 1)
            self.holders[slot.pair].append(index)
            counts[index] += 1
        }
    }

    /// What each worker bears of a layer's load, when those who hold an expert bear equal parts of it.
    private func burdens(layer: Int, _ loads: [Double]) -> [Double] {
        var burdens = [Double](repeating: 0, count: workers.count)
        for pair in layer * shape.experts..<(layer + 1) * shape.experts {
            for index in holders[pair] {
                burdens[index] += (loads.isEmpty ? 1 : loads[pair]) / Double(holders[pair].count)
            }
        }
        return burdens
    }

    /// An expert's next copy, when it has `copy` of them.
    private struct Slot {
        var pair: Int
        var copy: Int
        /// What each of those that are there bears.
        var worth: Double
    }

    /// The copies that are wanted, the most urgent first. Among equals layer by layer for each expert, so that where
    /// memory ends no layer is left out.
    private func slots(copies: Int?, loads: [Double], held: [[Int]]) -> [Slot] {
        var slots: [Slot] = []
        for pair in holders.indices where !holders[pair].isEmpty {
            let load = loads.isEmpty ? 1 : loads[pair]
            let even = (Double(candidates.count) * load / Double(shape.experts)).rounded(.up)
            let wanted = min(copies ?? max(2, Int(even)), candidates.count)
            for copy in 1..<max(1, wanted) {
                let worth = load / Double(copy) * (copy < held[pair].count ? Self.worthOfLoaded : 1)
                slots.append(Slot(pair: pair, copy: copy, worth: worth))
            }
        }
        let experts = shape.experts
        return slots.sorted {
            ($1.worth, $0.copy, $0.pair % experts, $0.pair) < ($0.worth, $1.copy, $1.pair % experts, $1.pair)
        }
    }
}
