import Cluster
import TestSupport
import Testing

@Suite struct PlacementTests {
    private struct Case {
        let shape: ModelShape
        let candidates: [Placement.Candidate]
    }

    private static func randomCase(_ random: inout SeededGenerator) -> Case {
        let shape = ModelShape(
            layers: .random(in: 1...36, using: &random), experts: .random(in: 1...128, using: &random),
            hiddenSize: 64, intermediateSize: 64)
        let candidates = (0..<Int.random(in: 0...9, using: &random)).map { _ in
            Placement.Candidate(
                id: WorkerID(),
                capacity: Bool.random(using: &random)
                    ? .max : .random(in: 0...shape.layers * shape.experts, using: &random),
                weight: .random(in: 1...64, using: &random))
        }
        return Case(shape: shape, candidates: candidates)
    }

    private static func place(_ test: Case) -> Placement {
        Placement(
            epoch: 1, shape: test.shape, candidates: test.candidates,
            previous: Placement(epoch: 0, shape: test.shape))
    }

    private static func owners(_ placement: Placement) -> [WorkerID?] {
        placement.holders.map { $0.first.map { placement.workers[$0] } }
    }

    @Test("every expert has one owner; no worker owns more than it can hold; nothing is left over that would fit")
    func ownership() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<200 {
            let test = Self.randomCase(&random)
            let placement = Self.place(test)
            #expect(placement.holders.count == test.shape.layers * test.shape.experts)
            #expect(placement.holders.allSatisfy { $0.count <= 1 })
            let capacities = Dictionary(uniqueKeysWithValues: test.candidates.map { ($0.id, $0.capacity) })
            for (id, count) in zip(placement.workers, placement.counts) { #expect(count <= capacities[id] ?? 0) }
            let capacity = test.candidates.reduce(0) {
                $0.addingReportingOverflow($1.capacity).overflow ? .max : $0 + $1.capacity
            }
            #expect(placement.holders.count - placement.unowned == min(capacity, placement.holders.count))
            for id in placement.workers {
                #expect(placement.experts(of: id).count == Self.owners(placement).count { $0 == id })
            }
        }
    }

    @Test("each layer is spread as evenly as the whole: a worker's part of it is its mean, rounded up or down")
    func balance() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<200 {
            let test = Self.randomCase(&random)
            let placement = Self.place(test)
            for (index, count) in placement.counts.enumerated() {
                let mean = count / test.shape.layers
                for layer in 0..<test.shape.layers {
                    let holders = placement.holders[layer * test.shape.experts..<(layer + 1) * test.shape.experts]
                    #expect(abs(holders.count { $0 == [index] } - mean) <= 1)
                }
            }
        }
    }

    @Test("shares follow the weights")
    func weights() {
        let shape = ModelShape(layers: 24, experts: 32, hiddenSize: 64, intermediateSize: 64)
        let ids = [WorkerID(), WorkerID(), WorkerID()].sorted()
        let candidates = zip(ids, [1, 2, 3]).map { Placement.Candidate(id: $0, capacity: .max, weight: $1) }
        #expect(Self.place(Case(shape: shape, candidates: candidates)).counts == [128, 256, 384])
    }

    @Test("the order of the candidates does not matter")
    func deterministic() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<50 {
            let test = Self.randomCase(&random)
            let shuffled = Case(shape: test.shape, candidates: test.candidates.shuffled(using: &random))
            #expect(Self.place(test) == Self.place(shuffled))
        }
    }

    @Test("when a worker comes or goes, only its experts move")
    func movesFew() {
        let shape = ModelShape(layers: 24, experts: 32, hiddenSize: 64, intermediateSize: 64)
        let candidates = (0..<4).map { _ in Placement.Candidate(id: WorkerID(), capacity: .max, weight: 2) }
        let three = Self.place(Case(shape: shape, candidates: Array(candidates.prefix(3))))
        let four = Placement(epoch: 2, shape: shape, candidates: candidates, previous: three)
        let again = Placement(epoch: 3, shape: shape, candidates: Array(candidates.prefix(3)), previous: four)
        // A quarter of the experts has to move; rounding in each layer may move one more.
        #expect(Self.moves(three, four) <= 24 * (8 + 1))
        #expect(Self.moves(four, again) <= 24 * (8 + 1))
    }

    private static func moves(_ a: Placement, _ b: Placement) -> Int {
        zip(owners(a), owners(b)).count { $0 != $1 }
    }

    @Test("replicas fill the memory that is left, no expert twice with one worker, none more often than asked")
    func replicas() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<200 {
            let test = Self.randomCase(&random)
            let single = Self.place(test)
            let copies = Int.random(in: 1...4, using: &random)
            let placement = single.replicated(epoch: 2, copies: copies)
            #expect(placement.epoch == 2 && Self.owners(placement) == Self.owners(single))
            #expect(placement.holders.allSatisfy { Set($0).count == $0.count && $0.count <= copies })
            let counts = placement.counts
            for (index, candidate) in placement.candidates.enumerated() { #expect(counts[index] <= candidate.capacity) }
            // Who has room left would have been given any expert that lacks a copy.
            for (index, candidate) in placement.candidates.enumerated() where counts[index] < candidate.capacity {
                #expect(placement.holders.allSatisfy { $0.count == copies || $0.isEmpty || $0.contains(index) })
            }
            for (index, id) in placement.workers.enumerated() {
                #expect(placement.experts(of: id).count == counts[index])
            }
        }
    }

    @Test("when an owner goes, its experts go to those that hold replicas, and what others held they keep")
    func replicasTakeOver() {
        let shape = ModelShape(layers: 24, experts: 32, hiddenSize: 64, intermediateSize: 64)
        let candidates = (0..<4).map { _ in Placement.Candidate(id: WorkerID(), capacity: .max, weight: 1) }
            .sorted { $0.id < $1.id }
        let before = Self.place(Case(shape: shape, candidates: candidates)).replicated(epoch: 2, copies: 2)
        #expect(before.counts.allSatisfy { abs($0 - 384) < 10 })
        let after = Placement(
            epoch: 3, shape: shape, candidates: Array(candidates.dropFirst()), previous: before, copies: 2)
        let lost = before.holders.indices.filter { before.holders[$0].first == 0 }
        let taken = lost.count { pair in
            before.holders[pair].dropFirst().contains { before.workers[$0] == Self.owners(after)[pair] }
        }
        // All but what rounding in each layer prevents.
        #expect(taken >= lost.count * 3 / 4, "\(taken) of \(lost.count)")
        for id in after.workers {
            let (held, holds) = (before.experts(of: id), after.experts(of: id))
            let kept = zip(held.bytes, holds.bytes).reduce(0) { $0 + ($1.0 & $1.1).nonzeroBitCount }
            #expect(kept >= held.count * 49 / 50, "what was loaded is hardly ever thrown away while there is room")
        }
    }

    @Test("an expert set survives its bytes, and refuses others")
    func expertSet() {
        let shape = ModelShape(layers: 3, experts: 11, hiddenSize: 64, intermediateSize: 64)
        var set = ExpertSet(shape: shape)
        set.insert(layer: 2, expert: 10)
        set.insert(layer: 0, expert: 3)
        #expect(ExpertSet(bytes: set.bytes, shape: shape) == set)
        #expect(set.count == 2 && set.contains(layer: 2, expert: 10) && !set.contains(layer: 1, expert: 10))
        #expect(
            !set.contains(layer: 3, expert: 0) && !set.contains(layer: 0, expert: 11)
                && !set.contains(layer: -1, expert: 0))
        #expect(ExpertSet(bytes: set.bytes.dropLast(), shape: shape) == nil)
        #expect(ExpertSet(bytes: [0, 0x08, 0, 0, 0, 0], shape: shape) == nil, "expert 11 does not exist")
    }
}
