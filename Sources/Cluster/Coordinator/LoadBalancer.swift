package import Transformer

/// Chooses, for each expert of a batch, which of the workers that hold it computes it, or the coordinator: the expert with
/// the most rows first, each by whoever would be done with it first. Its arrays keep their memory from batch to batch.
package struct LoadBalancer {
    /// Reading an expert's weights takes about as long as multiplying them with so many rows (`cluster/bench/kernels`).
    package static let readingInRows = 6

    /// By expert.
    private var rows: [Int] = []
    private var chosen: [Int] = []
    /// The experts that the batch needs.
    private var order: [Int] = []
    /// The indices that were last chosen for, expert by expert.
    package private(set) var indices: [Int32] = []
    /// By worker, and behind them the coordinator's, in rows.
    private var loads: [Int] = []

    package init() {}

    /// The worker chosen for an expert of the last batch; nil where none may be, or the coordinator is better.
    package func worker(for expert: Int32) -> Int? { chosen[Int(expert)] < 0 ? nil : chosen[Int(expert)] }

    /// Chooses among the workers that `isEligible` allows, and the coordinator.
    /// - Parameters:
    ///   - unsorted: the indices of those among the assignments that are to be computed.
    ///   - own: how fast the coordinator is beside the mean of these workers; 0 leaves it what they cannot compute.
    package mutating func choose(
        for unsorted: [Int32], of assignments: UnsafeBufferPointer<ExpertAssignment>, layer: Int, _ routes: Routes,
        own: Double, isEligible: (_ worker: Int) -> Bool
    ) {
        rows.reset(to: 0, count: routes.expertsPerLayer)
        chosen.reset(to: -1, count: routes.expertsPerLayer)
        loads.reset(to: 0, count: routes.links.count + 1)
        order.removeAll(keepingCapacity: true)
        for index in unsorted {
            let expert = Int(assignments[Int(index)].expert)
            if rows[expert] == 0 { order.append(expert) }
            rows[expert] += 1
        }
        order.sort { rows[$0] == rows[$1] ? $0 < $1 : rows[$0] > rows[$1] }
        let here = routes.links.count
        let ownWeight = own * Self.meanWeight(routes, isEligible)
        for expert in order where own > 0 && !routes.holders(layer: layer, expert: expert).contains(where: isEligible) {
            loads[here] += cost(of: expert)
        }
        for expert in order {
            let cost = cost(of: expert)
            var soonest = Double.infinity
            for worker in routes.holders(layer: layer, expert: expert) where isEligible(worker) {
                let time = Double(loads[worker] + cost) / Double(routes.weights[worker])
                if time < soonest { (soonest, chosen[expert]) = (time, worker) }
            }
            if chosen[expert] >= 0, Double(loads[here] + cost) < soonest * ownWeight {
                chosen[expert] = -1
                loads[here] += cost
            } else if chosen[expert] >= 0 {
                loads[chosen[expert]] += cost
            }
        }
        arrange(unsorted, of: assignments)
    }

    private func cost(of expert: Int) -> Int { Self.readingInRows + rows[expert] }

    private static func meanWeight(_ routes: Routes, _ isEligible: (_ worker: Int) -> Bool) -> Double {
        var (sum, count) = (0, 0)
        for worker in routes.weights.indices where isEligible(worker) {
            sum += routes.weights[worker]
            count += 1
        }
        return count == 0 ? 0 : Double(sum) / Double(count)
    }

    /// A counting sort, after which `rows` says where each expert's indices end.
    private mutating func arrange(_ unsorted: [Int32], of assignments: UnsafeBufferPointer<ExpertAssignment>) {
        var begin = 0
        for expert in rows.indices { (rows[expert], begin) = (begin, begin + rows[expert]) }
        indices.reset(to: 0, count: begin)
        for index in unsorted {
            let expert = Int(assignments[Int(index)].expert)
            indices[rows[expert]] = index
            rows[expert] += 1
        }
    }
}

extension Array {
    /// Keeps its memory.
    mutating func reset(to value: Element, count: Int) {
        removeAll(keepingCapacity: true)
        for _ in 0..<count { append(value) }
    }
}
