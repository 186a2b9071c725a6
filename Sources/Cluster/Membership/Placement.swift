/// Who owns each expert of each layer from an epoch on.
package struct Placement: Sendable, Equatable {
    /// A worker's claim to experts.
    package struct Candidate: Sendable, Equatable {
        package var id: WorkerID
        /// How many experts, over all layers, its memory holds.
        package var capacity: Int
        /// Its share grows with this.
        package var weight: Int

        package init(id: WorkerID, capacity: Int, weight: Int) {
            self.id = id
            self.capacity = capacity
            self.weight = weight
        }
    }

    package let epoch: UInt64
    package let shape: ModelShape
    package let workers: [WorkerID]
    /// [layers][experts]: an index into `workers`, or nil for what is left to the coordinator.
    package private(set) var owners: [Int?]

    /// Everything is left to the coordinator.
    package init(epoch: UInt64, shape: ModelShape) {
        self.epoch = epoch
        self.shape = shape
        workers = []
        owners = [Int?](repeating: nil, count: shape.layers * shape.experts)
    }

    package func owner(layer: Int, expert: Int) -> WorkerID? {
        owners[layer * shape.experts + expert].map { workers[$0] }
    }

    /// The experts of one worker.
    package func experts(of id: WorkerID) -> ExpertSet {
        var set = ExpertSet(shape: shape)
        for (pair, owner) in owners.enumerated() where owner.map({ workers[$0] }) == id {
            set.insert(layer: pair / shape.experts, expert: pair % shape.experts)
        }
        return set
    }

    /// How many experts each worker owns, by index.
    package var counts: [Int] {
        owners.reduce(into: [Int](repeating: 0, count: workers.count)) { counts, owner in
            if let owner { counts[owner] += 1 }
        }
    }
}

extension Placement {
    /// Shares the experts out: in proportion to weight, within capacity, every layer spread as evenly as the whole, so
    /// that the experts of one token lie with many workers. What nobody can hold is left to the coordinator. An expert
    /// stays where `previous` had it when the shares allow. The result depends on nothing but the arguments, and not on
    /// the candidates' order.
    package init(epoch: UInt64, shape: ModelShape, candidates: [Candidate], previous: Placement) {
        let candidates = candidates.sorted { $0.id < $1.id }
        self.epoch = epoch
        self.shape = shape
        workers = candidates.map(\.id)
        owners = []
        owners.reserveCapacity(shape.layers * shape.experts)

        let quotas = Self.quotas(of: shape.layers * shape.experts, among: candidates)
        // The last share is the coordinator's.
        var left = quotas + [shape.layers * shape.experts - quotas.reduce(0, +)]
        let indexes = Dictionary(uniqueKeysWithValues: workers.enumerated().map { ($1, $0) })
        for layer in 0..<shape.layers {
            var share = Self.layerShare(of: left, experts: shape.experts, layersLeft: shape.layers - layer)
            for index in left.indices { left[index] -= share[index] }
            // First what can stay, then the rest to whoever has most of its share to come.
            var layerOwners = [Int?](repeating: nil, count: shape.experts)
            for expert in 0..<shape.experts {
                let index = previous.owner(layer: layer, expert: expert).flatMap { indexes[$0] }
                if let index, share[index] > 0 {
                    share[index] -= 1
                    layerOwners[expert] = index
                }
            }
            for expert in 0..<shape.experts where layerOwners[expert] == nil {
                let index = share.indices.reduce(0) { share[$1] > share[$0] ? $1 : $0 }
                share[index] -= 1
                layerOwners[expert] = index < workers.count ? index : nil
            }
            owners += layerOwners
        }
    }

    /// Gives one expert after the other to whoever would have the smallest load with it (D'Hondt's method).
    private static func quotas(of total: Int, among candidates: [Candidate]) -> [Int] {
        var quotas = [Int](repeating: 0, count: candidates.count)
        for _ in 0..<total {
            var best: Int?
            for (index, candidate) in candidates.enumerated() where quotas[index] < candidate.capacity {
                if let other = best {
                    let load = (quotas[index] + 1) * candidates[other].weight
                    if load >= (quotas[other] + 1) * candidate.weight { continue }
                }
                best = index
            }
            guard let best else { break }
            quotas[best] += 1
        }
        return quotas
    }

    /// One layer's part of what is `left`, which sums to experts · layersLeft: equal parts, rounded down, and what
    /// rounding leaves over to the largest remainders.
    private static func layerShare(of left: [Int], experts: Int, layersLeft: Int) -> [Int] {
        var share = left.map { $0 / layersLeft }
        let byRemainder = left.indices.sorted { a, b in
            let (first, second) = (left[a] % layersLeft, left[b] % layersLeft)
            return first == second ? a < b : first > second
        }
        for index in byRemainder.prefix(experts - share.reduce(0, +)) { share[index] += 1 }
        return share
    }
}
