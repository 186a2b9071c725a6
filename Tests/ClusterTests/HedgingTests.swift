import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// Rows of a late worker are computed by others as well, and whoever comes first is taken.
@Suite(.serialized) struct HedgingTests {
    /// Lets a worker's batches through, or holds them.
    private final class Valve: Sendable {
        private let isClosed = Mutex(false)
        func close() { isClosed.withLock { $0 = true } }
        func open() { isClosed.withLock { $0 = false } }
        func pass() { while isClosed.withLock({ $0 }) { usleep(500) } }
    }

    /// A cluster of which the first worker's batches go through a valve.
    private func cluster(
        workers: Int, localExperts: Bool, hedging: DispatchOptions.Hedging
    ) async throws -> (TestCluster, Valve) {
        let cluster = try TestCluster(
            .int8, localExperts: localExperts, replicas: 2, options: DispatchOptions(hedging: hedging, verifyRate: 0.2))
        let valve = Valve()
        try cluster.addWorker { valve.pass() }
        for _ in 1..<workers { try cluster.addWorker() }
        try await eventually("everyone holds everything") {
            cluster.coordinator.status.workers.count == workers
                && cluster.coordinator.status.workers.allSatisfy { $0.experts == 24 }
        }
        try cluster.coordinator.executor.beginStep()
        return (cluster, valve)
    }

    private func compute(_ cluster: TestCluster, _ seeds: Range<UInt64>) throws {
        for seed in seeds { #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed)) }
    }

    /// How long a batch takes of which the first worker is late, after many in time. The valve stays closed.
    private func timeOfLateBatch(_ cluster: TestCluster, _ valve: Valve) throws -> Duration {
        try compute(cluster, 0..<60)
        valve.close()
        let begin = ContinuousClock.now
        try compute(cluster, 60..<61)
        return begin.duration(to: .now)
    }

    @Test(
        "a worker that is late once costs no deadline and no byte, and is asked again when it has answered",
        arguments: [(workers: 2, localExperts: false), (1, true), (2, true)])
    func late(workers: Int, localExperts: Bool) async throws {
        let (cluster, valve) = try await cluster(
            workers: workers, localExperts: localExperts, hedging: .after(.milliseconds(30)))
        try compute(cluster, 0..<5)
        valve.close()
        let begin = ContinuousClock.now
        try compute(cluster, 5..<10)
        #expect(begin.duration(to: .now) < .seconds(1), "no longer than the hedge, and once")
        func late() -> [ClusterStatus.Worker] { cluster.coordinator.status.workers.filter { $0.hedges > 0 } }
        #expect(late().count == 1 && late().first?.hedges == 1, "it is not asked for more before it has answered")
        valve.open()
        let batches = late().first?.batches ?? 0
        var seed: UInt64 = 100
        try await eventually("it is asked again") {
            seed += 1
            return (try? cluster.compute(seed: seed) == cluster.expected(seed: seed)) == true
                && (late().first?.batches ?? 0) > batches + 1
        }
        #expect(cluster.coordinator.status.dropped == [:], "the answer that came second is nobody's fault")
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.failures == 0 })
    }

    @Test("without a number, what is late is told from the worker's own answers")
    func automatic() async throws {
        let (cluster, valve) = try await cluster(workers: 2, localExperts: false, hedging: .automatic)
        let time = try timeOfLateBatch(cluster, valve)
        #expect(time < .seconds(1), "sooner than a deadline, which is 1.5 s at least")
        valve.open()
    }

    @Test("nothing is computed twice where that is switched off")
    func never() async throws {
        let (cluster, valve) = try await cluster(workers: 2, localExperts: false, hedging: .never)
        let time = try timeOfLateBatch(cluster, valve)
        #expect(time >= .seconds(1.4))
        valve.open()
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.hedges == 0 })
    }

    @Test("who is always as fast is late when half of that time has gone by again")
    func lateness() throws {
        var history = LatencyHistory()
        for _ in 0..<100 { history.add(seconds: 0.08, assignments: 1024) }
        let usual = try #require(history.usual(assignments: 1024))
        #expect(abs(usual - 0.12) < 0.001)
    }

    @Test("of what is sent, one row in twenty may be computed twice, and what is saved up has a limit")
    func budget() {
        var budget = HedgeBudget()
        while budget.spend(1) {}
        budget.earn(199)
        #expect(budget.spend(9) && !budget.spend(1))
        budget.earn(.max / 4)
        #expect(budget.spend(HedgeBudget.most) && !budget.spend(1))
    }
}
