import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// Experts that more than one worker holds.
@Suite(.serialized) struct ReplicaTests {
    /// A cluster without local experts in which each of two workers holds everything.
    private func cluster(
        timing: ClusterTiming = TestCluster.timing, before: @escaping @Sendable (_ worker: Int) throws -> Void
    ) async throws -> TestCluster {
        let cluster = try TestCluster(.int8, localExperts: false, replicas: 2, timing: timing)
        for index in 0..<2 { try cluster.addWorker { try before(index) } }
        try await eventually("both hold everything") {
            cluster.coordinator.status.workers.count == 2
                && cluster.coordinator.status.workers.allSatisfy { $0.experts == 24 }
        }
        try cluster.coordinator.executor.beginStep()
        return cluster
    }

    @Test("one token's experts are shared out evenly, whoever owns them")
    func balance() async throws {
        let cluster = try await cluster { _ in }
        for seed in 0..<50 as Range<UInt64> {
            #expect(try cluster.compute(seed: seed, rows: 1, topK: 4) == cluster.expected(seed: seed, rows: 1, topK: 4))
        }
        let rows = cluster.coordinator.status.workers.map(\.rows)
        // The same expert may be drawn twice for a row: then one may have three.
        #expect(rows.reduce(0, +) == 600 && abs(rows[0] - rows[1]) <= 60, "\(rows)")
    }

    @Test("what one worker cannot compute, the other does, without local experts")
    func failing() async throws {
        struct Broken: Error {}
        let cluster = try await cluster { if $0 == 0 { throw Broken() } }
        for seed in 0..<20 as Range<UInt64> {
            #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed))
        }
        #expect(cluster.coordinator.status.workers.contains { $0.failures >= 20 })
    }

    @Test("the rows of a worker that hangs go to the other one, and it is not asked again meanwhile")
    func hanging() async throws {
        var timing = TestCluster.timing
        timing.batchDeadline = .milliseconds(100) ... .milliseconds(500)
        let gate = DispatchSemaphore(value: 0)
        let cluster = try await cluster(timing: timing) {
            guard $0 == 0 else { return }
            gate.wait()
            gate.signal()
        }
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        let begin = ContinuousClock.now
        #expect(try cluster.compute(seed: 2) == cluster.expected(seed: 2))
        #expect(begin.duration(to: .now) < .milliseconds(500), "only the first batch waits")
        gate.signal()
    }

    @Test("a worker that goes between two batches is not missed")
    func leaving() async throws {
        let cluster = try await cluster { _ in }
        let stop = Mutex(false)
        Thread.detachNewThread {
            usleep(20_000)
            stop.withLock { $0 = true }
        }
        var seed: UInt64 = 0
        while !stop.withLock({ $0 }) || seed < 20 {
            seed += 1
            #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed))
            if seed == 10 { cluster.workers[0].stop() }
        }
        try await eventually("one is left") { cluster.coordinator.status.workers.count == 1 }
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
    }
}

@Suite struct LoadBalancerTests {
    private func routes(_ shape: ModelShape, weights: [Int], copies: Int) -> Routes {
        let candidates = weights.map { Placement.Candidate(id: WorkerID(), capacity: .max, weight: $0) }
        let placement = Placement(
            epoch: 1, shape: shape, candidates: candidates, previous: Placement(epoch: 0, shape: shape)
        ).replicated(epoch: 2, copies: copies)
        return Routes(placement, links: placement.workers.map { WorkerLink(id: $0) })
    }

    private func counts(
        _ assignments: [ExpertAssignment], _ routes: Routes, own: Double = 0, excluding: Int? = nil
    ) -> [Int] {
        var balancer = LoadBalancer()
        var counts = [Int](repeating: 0, count: routes.links.count)
        assignments.withUnsafeBufferPointer {
            balancer.choose(for: Array(0..<Int32($0.count)), of: $0, layer: 1, routes, own: own) { $0 != excluding }
        }
        for assignment in assignments {
            guard let worker = balancer.worker(for: assignment.expert) else { continue }
            #expect(routes.holders(layer: 1, expert: Int(assignment.expert)).contains(worker))
            counts[worker] += 1
        }
        return counts
    }

    private let shape = ModelShape(layers: 2, experts: 32, hiddenSize: 64, intermediateSize: 64)

    private func assignments(_ experts: [Int32]) -> [ExpertAssignment] {
        experts.enumerated().map { ExpertAssignment(row: Int32($0), expert: $1, slot: Int32($0)) }
    }

    @Test("any four experts go two and two to workers that hold everything", arguments: 0..<50 as Range<UInt64>)
    func pairs(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let experts = Array((0..<Int32(32)).shuffled(using: &random).prefix(4))
        #expect(counts(assignments(experts), routes(shape, weights: [1, 1], copies: 2)) == [2, 2])
    }

    @Test("a worker with three times the weight gets three times the work")
    func weights() {
        let routes = routes(shape, weights: [1, 3], copies: 2)
        let slow = routes.weights.firstIndex(of: 1) ?? 0
        #expect(counts(assignments((0..<32).map { $0 }), routes)[slow] == 8)
    }

    @Test("whoever is not eligible gets nothing; what nobody else holds is given to nobody")
    func eligibility() {
        let all = assignments((0..<32).map { $0 })
        #expect(counts(all, routes(shape, weights: [1, 1], copies: 2), excluding: 0) == [0, 32])
        #expect(counts(all, routes(shape, weights: [1, 1], copies: 1), excluding: 0) == [0, 16])
    }

    @Test("the coordinator has its share beside the workers, and counts in it what they cannot compute")
    func ownShare() {
        let all = assignments((0..<32).map { $0 })
        #expect(counts(all, routes(shape, weights: [5, 5], copies: 2), own: 2) == [8, 8])
        #expect(counts(all, routes(shape, weights: [1, 3], copies: 2), own: 2).sorted() == [4, 12])
        #expect(counts(all, routes(shape, weights: [1, 1], copies: 1), own: 1, excluding: 0) == [0, 16])
        #expect(counts(all, routes(shape, weights: [1, 1], copies: 1), own: 64) == [0, 0])
        #expect(counts(assignments([7]), routes(shape, weights: [1, 1], copies: 2), own: 1).reduce(0, +) == 1)
    }
}
