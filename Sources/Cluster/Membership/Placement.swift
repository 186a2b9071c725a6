/// Who owns each expert of each layer from an epoch on.
package struct Placement: Sendable, Equatable {
    /// A worker's claim to experts.
    package struct Candidate: Sendable, Equatable {
        package var id: WorkerID
        /// How many experts, over all layers, its memory holds.
        package var capacity: Int
        /// How fast it is beside the others, 1 or more: its share grows with this.
        package var weight: Int

        package init(id: WorkerID, capacity: Int, weight: Int) {
            self.id = id
            self.capacity = capacity
            self.weight = weight
        }
    }

    package internal(set) var epoch: UInt64
    package let shape: ModelShape
    /// Who takes part, by identity.
    package internal(set) var candidates: [Candidate]
    package let workers: [WorkerID]
    /// [layers][experts]: who holds it, as indexes into `workers`: its owner, then the replicas. Empty for what is left to
    /// the coordinator.
    package internal(set) var holders: [[Int]]

    /// Everything is left to the coordinator.
    package init(epoch: UInt64, shape: ModelShape) {
        self.epoch = epoch
        self.shape = shape
        candidates = []
        workers = []
        holders = [[Int]](repeating: [], count: shape.layers * shape.experts)
    }

    package func holders(layer: Int, expert: Int) -> [WorkerID] {
        holders[layer * shape.experts + expert].map { workers[$0] }
    }

    /// The experts of one worker.
    package func experts(of id: WorkerID) -> ExpertSet {
        var set = ExpertSet(shape: shape)
        for (pair, holders) in holders.enumerated() where holders.contains(where: { workers[$0] == id }) {
            set.insert(layer: pair / shape.experts, expert: pair % shape.experts)
        }
        return set
    }

    /// How many experts each worker holds, by index.
    package var counts: [Int] {
        holders.reduce(into: [Int](repeating: 0, count: workers.count)) { counts, holders in
            for index in holders { counts[index] += 1 }
        }
    }

    /// (layer, expert) pairs that are left to the coordinator.
    package var unowned: Int { holders.count(where: \.isEmpty) }
}

extension Placement {
    /// Shares the experts out: in proportion to weight, within capacity, every layer spread as evenly as the whole, so
    /// that the experts of one token lie with many workers. What nobody can hold is left to the coordinator. An expert
    /// stays where `previous` had it when the shares allow, and goes rather to a worker that held a replica. The result
    /// depends on nothing but the arguments, and not on the candidates' order.
    ///
    /// What workers have loaded, that is what they hold in `loaded`, they keep as replicas where there is room, up to
    /// `copies` of an expert in all. ``replicated(epoch:copies:loads:)`` adds new ones, and says what both are.
    package init(
        epoch: UInt64, shape: ModelShape, candidates: [Candidate], previous: Placement, loaded: Placement? = nil,
        copies: Int? = 1, loads: [Double] = []
    ) {
        let candidates = candidates.sorted { $0.id < $1.id }
        self.epoch = epoch
        self.shape = shape
        self.candidates = candidates
        workers = candidates.map(\.id)
        self.holders = []
        self.holders.reserveCapacity(shape.layers * shape.experts)

        let quotas = Self.quotas(of: shape.layers * shape.experts, among: candidates)
        // The last share is the coordinator's.
        var left = quotas + [shape.layers * shape.experts - quotas.reduce(0, +)]
        let indexes = Dictionary(uniqueKeysWithValues: workers.enumerated().map { ($1, $0) })
        func holders(in other: Placement) -> [[Int]] {
            other.holders.map { $0.compactMap { indexes[other.workers[$0]] } }
        }
        let before = holders(in: previous)
        for layer in 0..<shape.layers {
            var share = Self.layerShare(of: left, experts: shape.experts, layersLeft: shape.layers - layer)
            for index in left.indices { left[index] -= share[index] }
            var owners = [Int?](repeating: nil, count: shape.experts)
            func give(_ expert: Int, to index: Int?) {
                guard let index, share[index] > 0, owners[expert] == nil else { return }
                share[index] -= 1
                owners[expert] = index
            }
            // First what can stay, then what a replica takes over, and the rest to whoever has most of its share to come.
            let held = before[layer * shape.experts..<(layer + 1) * shape.experts]
            for (expert, indexes) in held.enumerated() { give(expert, to: indexes.first) }
            for (expert, indexes) in held.enumerated() { give(expert, to: indexes.first { share[$0] > 0 }) }
            for expert in owners.indices {
                give(expert, to: share.indices.reduce(0) { share[$1] > share[$0] ? $1 : $0 })
            }
            self.holders += owners.map { $0.flatMap { $0 < candidates.count ? [$0] : nil } ?? [] }
        }
        replicate(copies: copies, loads: loads, held: holders(in: loaded ?? previous), mayLoad: false)
    }

    /// Gives one expert after the other to the least loaded.
    private static func quotas(of total: Int, among candidates: [Candidate]) -> [Int] {
        var quotas = [Int](repeating: 0, count: candidates.count)
        for _ in 0..<total {
            guard let index = leastLoaded(quotas, candidates, where: { _ in true }) else { break }
            quotas[index] += 1
        }
        return quotas
    }

    /// Of those that have room, the one that would have the smallest load with one expert more (D'Hondt's method).
    private static func leastLoaded(
        _ counts: [Int], _ candidates: [Candidate], where isEligible: (Int) -> Bool
    ) -> Int? {
        var best: Int?
        for (index, candidate) in candidates.enumerated()
        where counts[index] < candidate.capacity && isEligible(index) {
            if let other = best {
                let load = (counts[index] + 1) * candidates[other].weight
                if load >= (counts[other] + 1) * candidate.weight { continue }
            }
            best = index
        }
        return best
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
