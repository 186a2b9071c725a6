/// Placements compared, and made better, by what is known of speeds and loads.
///
/// The measure is the time that a step's rows take: in each layer that of the worker which takes longest. A row of an
/// expert goes to one of those that hold it, in proportion to their weights.
extension Placement {
    /// A new placement is worth it only when steps take at most so much of the time.
    package static let worthwhile = 0.9
    /// Of plans within so much of the best, the one that moves least is taken.
    private static let asGood = 1.05
    /// Two workers exchange experts of a layer only when it then takes at most so much of the time.
    private static let worthExchanging = 0.98

    /// Time for the experts of one step, all layers together, in loads over speeds.
    /// - Parameters:
    ///   - speeds: of `workers`; what the placement takes for them are its weights.
    ///   - loads: [layers][experts], relative to the layer's mean; empty where all are alike.
    package func time(speeds: [Int], loads: [Double]) -> Double {
        (0..<shape.layers).reduce(0) { $0 + (times(layer: $1, speeds: speeds, loads: loads).max() ?? 0) }
    }

    /// How many experts workers would have to load for this placement, after another of the same workers.
    package func moves(from other: Placement) -> Int {
        zip(holders, other.holders).reduce(0) { sum, pair in sum + pair.0.count { !pair.1.contains($0) } }
    }

    /// A placement that suits measured speeds and loads, where one is worth it; nil otherwise. It lets the same workers
    /// hold as much as they can, and moves no more than it must.
    /// - Parameter candidates: those of this placement, with the weights that were measured.
    package func rebalanced(epoch: UInt64, candidates: [Candidate], copies: Int?, loads: [Double]) -> Placement? {
        var reweighed = self
        reweighed.epoch = epoch
        reweighed.candidates = candidates
        var exchanged = reweighed
        for pair in exchanged.holders.indices { exchanged.holders[pair] = Array(exchanged.holders[pair].prefix(1)) }
        var shared = Placement(
            epoch: epoch, shape: shape, candidates: candidates, previous: self, copies: copies, loads: loads)
        let speeds = candidates.map(\.weight)
        let present = time(speeds: speeds, loads: loads)
        exchanged.replicate(copies: copies, loads: loads, held: holders, mayLoad: true)
        shared.replicate(copies: copies, loads: loads, held: holders, mayLoad: true)
        exchanged.exchange(loads)
        shared.exchange(loads)
        let plans = [reweighed, exchanged, shared].map {
            (plan: $0, time: $0.time(speeds: speeds, loads: loads), moves: $0.moves(from: self))
        }
        let best = plans.map(\.time).min() ?? present
        return plans.filter { $0.time <= best * Self.asGood && $0.time < present * Self.worthwhile }
            .min { $0.moves < $1.moves }?.plan
    }

    private func times(layer: Int, speeds: [Int], loads: [Double]) -> [Double] {
        var times = [Double](repeating: 0, count: workers.count)
        for pair in layer * shape.experts..<(layer + 1) * shape.experts {
            let total = weight(of: holders[pair])
            for index in holders[pair] {
                let part = Double(candidates[index].weight) / total
                times[index] += (loads.isEmpty ? 1 : loads[pair]) * part / Double(speeds[index])
            }
        }
        return times
    }

    private func weight(of holders: [Int]) -> Double { Double(holders.reduce(0) { $0 + candidates[$1].weight }) }

    /// Lets, in each layer, the worker that takes longest exchange experts with others while that helps, or give a replica
    /// to one that has room. So every worker owns as many as before.
    private mutating func exchange(_ loads: [Double]) {
        let speeds = candidates.map(\.weight)
        var counts = self.counts
        for layer in 0..<shape.layers {
            // A bound, should every exchange help a little.
            for _ in 0..<shape.experts {
                let times = times(layer: layer, speeds: speeds, loads: loads)
                guard let exchange = bestExchange(layer, times, loads, counts) else { break }
                holders[exchange.given] = after(exchange, exchange.given)
                if let taken = exchange.taken {
                    holders[taken] = after(exchange, taken)
                } else {
                    counts[exchange.from] -= 1
                    counts[exchange.to] += 1
                }
            }
        }
    }

    private struct Exchange {
        /// From the first worker to the second, and back; nil where it only gives.
        var given: Int, taken: Int?
        var from, to: Int
    }

    /// Who holds an expert after an exchange that concerns it.
    private func after(_ exchange: Exchange, _ pair: Int) -> [Int] {
        let (old, new) = pair == exchange.given ? (exchange.from, exchange.to) : (exchange.to, exchange.from)
        return holders[pair].map { $0 == old ? new : $0 }
    }

    private func bestExchange(_ layer: Int, _ times: [Double], _ loads: [Double], _ counts: [Int]) -> Exchange? {
        guard let slowest = times.indices.max(by: { times[$0] < times[$1] }) else { return nil }
        let pairs = layer * shape.experts..<(layer + 1) * shape.experts
        let parts = pairs.map { (loads.isEmpty ? 1 : loads[$0]) / max(1, weight(of: holders[$0])) }
        var least = times[slowest] * Self.worthExchanging
        var best: Exchange?
        func consider(_ exchange: Exchange, _ difference: Double) {
            // Exact among workers of one speed, and near enough to leave out what cannot help.
            guard difference > 0, times[exchange.to] + difference < least * 1.1,
                !holders[exchange.given].contains(exchange.to)
            else { return }
            let after = time(times, after: exchange, loads)
            if after < least { (least, best) = (after, exchange) }
        }
        for given in pairs where holders[given].contains(slowest) {
            let part = parts[given - pairs.lowerBound]
            if holders[given].first != slowest {
                for other in candidates.indices where counts[other] < candidates[other].capacity {
                    consider(Exchange(given: given, taken: nil, from: slowest, to: other), part)
                }
            }
            for taken in pairs where !holders[taken].contains(slowest) {
                let difference = part - parts[taken - pairs.lowerBound]
                for other in holders[taken] {
                    consider(Exchange(given: given, taken: taken, from: slowest, to: other), difference)
                }
            }
        }
        return best
    }

    /// The longest time, after an exchange, of the slowest before and of those who have more to do by it.
    private func time(_ times: [Double], after exchange: Exchange, _ loads: [Double]) -> Double {
        var result = times
        let concerned = [exchange.given] + (exchange.taken.map { [$0] } ?? [])
        for pair in concerned {
            let load = loads.isEmpty ? 1 : loads[pair]
            let newHolders = after(exchange, pair)
            for index in holders[pair] { result[index] -= load / weight(of: holders[pair]) }
            for index in newHolders { result[index] += load / weight(of: newHolders) }
        }
        // Those who take something over are concerned too.
        return ([exchange.to] + concerned.flatMap { holders[$0] }).reduce(result[exchange.from]) {
            // More than by rounding.
            result[$1] > times[$1] * 1.000001 ? max($0, result[$1]) : $0
        }
    }
}
