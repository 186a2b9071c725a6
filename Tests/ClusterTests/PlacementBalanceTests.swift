import Cluster
import TestSupport
import Testing

/// Placements by speed and load, over thousands of random clusters.
@Suite struct PlacementBalanceTests {
    /// A cluster, what it holds, and what is then measured.
    private struct Case {
        var shape: ModelShape
        var candidates: [Placement.Candidate]
        var copies: Int?
        var loads: [Double]
        var random: SeededGenerator

        /// - Parameter slots: how much the workers hold together, in experts for each of the model's; nil for any.
        init(seed: UInt64, workers: ClosedRange<Int> = 1...8, slots: Double? = nil, evenSpeeds: Bool = false) {
            random = SeededGenerator(seed: seed)
            shape = ModelShape(
                layers: .random(in: 1...6, using: &random),
                experts: [8, 16, 32, 64].randomElement(using: &random) ?? 8,
                hiddenSize: 64, intermediateSize: 64)
            let (count, pairs) = (Int.random(in: workers, using: &random), shape.layers * shape.experts)
            copies = Bool.random(using: &random) ? nil : .random(in: 1...3, using: &random)
            candidates = []
            for index in 0..<count {
                let room =
                    slots.map { Int(($0 * Double(pairs) / Double(count)).rounded(.up)) }
                    ?? (Bool.random(using: &random) ? .max : .random(in: 0...pairs, using: &random))
                candidates.append(
                    Placement.Candidate(
                        id: Self.id(index), capacity: room,
                        weight: evenSpeeds ? 1000 : .random(in: 100...1000, using: &random))
                )
            }
            candidates.sort { $0.id < $1.id }
            loads = []
            loads = skewedLoads()
        }

        /// The same for every run, so that a seed tells all.
        private static func id(_ index: Int) -> WorkerID {
            withUnsafeBytes(of: (UInt64(index + 1), UInt64(index))) { WorkerID($0) } ?? WorkerID()
        }

        /// Zipf's law with a random exponent, in each layer by another order, a mean of 1.
        mutating func skewedLoads() -> [Double] {
            (0..<shape.layers).flatMap { _ in
                let exponent = Int.random(in: 0...2, using: &random)
                var loads = (1...shape.experts).map { rank in
                    (0..<exponent).reduce(1.0) { value, _ in value / Double(rank).squareRoot() }
                }
                loads.shuffle(using: &random)
                let mean = loads.reduce(0, +) / Double(shape.experts)
                return loads.map { $0 / mean }
            }
        }

        /// Before anything is measured.
        var first: Placement {
            Placement(
                epoch: 1, shape: shape, candidates: candidates.map { with($0, weight: 4) },
                previous: Placement(epoch: 0, shape: shape)
            ).replicated(epoch: 2, copies: copies)
        }

        func with(_ candidate: Placement.Candidate, weight: Int) -> Placement.Candidate {
            Placement.Candidate(id: candidate.id, capacity: candidate.capacity, weight: weight)
        }

        func rebalanced(_ placement: Placement) -> Placement? {
            placement.rebalanced(epoch: placement.epoch + 1, candidates: candidates, copies: copies, loads: loads)
        }

        var speeds: [Int] { candidates.map(\.weight) }

        /// No placement takes less: all work at once, none waits.
        var bound: Double { Double(shape.layers * shape.experts) / Double(speeds.reduce(0, +)) }
    }

    @Test("whatever is measured, every expert that fits is held, no memory is exceeded, and nobody holds one twice")
    func invariants() {
        var rebalanced = 0
        for seed in 0..<3000 as Range<UInt64> {
            let test = Case(seed: seed)
            let first = test.first
            guard let placement = test.rebalanced(first) else { continue }
            rebalanced += 1
            #expect(placement.epoch == 3 && placement.workers == first.workers)
            #expect(placement.candidates == test.candidates)
            #expect(placement.unowned == first.unowned)
            #expect(placement.holders.allSatisfy { Set($0).count == $0.count })
            if let copies = test.copies { #expect(placement.holders.allSatisfy { $0.count <= copies }) }
            for (count, candidate) in zip(placement.counts, test.candidates) { #expect(count <= candidate.capacity) }
            #expect(
                placement.time(speeds: test.speeds, loads: test.loads)
                    <= first.time(speeds: test.speeds, loads: test.loads) * Placement.worthwhile)
        }
        #expect(rebalanced > 1000)
    }

    @Test(
        "rebalancing comes to an end; what has been rebalanced stays, and under noise nearly always",
        arguments: [(noise: 0.0, mayMove: 0.0), (0.02, 0.003), (0.05, 0.02)])
    func stable(noise: Double, mayMove: Double) {
        var (checks, moved) = (0, 0)
        for seed in 0..<700 as Range<UInt64> {
            var test = Case(seed: seed)
            guard var placement = test.rebalanced(test.first) else { continue }
            var rounds = 1
            while let next = test.rebalanced(placement) { (placement, rounds) = (next, rounds + 1) }
            #expect(rounds <= 4)
            for _ in 0..<3 {
                var noisy = test
                noisy.candidates = test.candidates.map {
                    test.with(
                        $0, weight: Int(Double($0.weight) * .random(in: 1 - noise...1 + noise, using: &test.random)))
                }
                noisy.loads = test.loads.map { $0 * .random(in: 1 - noise...1 + noise, using: &test.random) }
                checks += 1
                moved += noisy.rebalanced(placement) == nil ? 0 : 1
            }
        }
        #expect(checks > 1000 && Double(moved) <= mayMove * Double(checks), "\(moved) of \(checks)")
    }

    /// How long steps take, as a multiple of what no placement can do without, and what part of the copies has moved.
    private func outcomes(copies: Int?, evenSpeeds: Bool) -> (times: [Double], moved: [Double]) {
        var times: [Double] = []
        var moved: [Double] = []
        for seed in 0..<1000 as Range<UInt64> {
            var test = Case(seed: seed, workers: 2...8, slots: 2.5, evenSpeeds: evenSpeeds)
            guard test.shape.experts >= 4 * test.candidates.count else { continue }
            test.copies = copies
            let first = test.first
            var placement = first
            while let next = test.rebalanced(placement) { placement = next }
            times.append(placement.time(speeds: test.speeds, loads: test.loads) / test.bound)
            moved.append(Double(placement.moves(from: first)) / Double(first.counts.reduce(0, +)))
        }
        return (times.sorted(), moved.sorted())
    }

    @Test(
        "with skewed loads, and room for two and a half copies, steps take little longer than if no worker ever waited",
        arguments: [true, false])
    func bounds(evenSpeeds: Bool) throws {
        let (times, moved) = outcomes(copies: nil, evenSpeeds: evenSpeeds)
        let count = times.count
        #expect(count > 300)
        #expect(times[count / 2] < 1.05 && times[count * 9 / 10] < 1.15, "\(times[count / 2]) \(times[count * 9 / 10])")
        #expect(try #require(times.last) < 1.5, "\(times.last ?? 0)")
        #expect(try #require(moved.last) < 0.4, "\(moved.last ?? 0)")
    }
}
