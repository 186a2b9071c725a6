import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// Workers that differ, flap and stall, over real sockets.
@Suite(.serialized) struct ElasticTests {
    /// Takes a while for each row.
    private final class SlowExperts: ExpertExecutor {
        private let experts: FakeExperts
        private let microsecondsPerRow: UInt32

        init(_ precision: Precision, microsecondsPerRow: UInt32) {
            experts = FakeExperts(precision)
            self.microsecondsPerRow = microsecondsPerRow
        }

        func beginStep() {}
        func finish() {}
        func start(_ batch: ExpertBatch) throws {
            usleep(microsecondsPerRow * UInt32(batch.assignments.count))
            try experts.start(batch)
        }
    }

    private func worker(_ cluster: TestCluster, microsecondsPerRow: UInt32) throws -> Worker {
        let worker = try Worker(
            model: FakeModel.identity, coordinators: [CoordinatorAddress(cluster.coordinator.endpoint)], threads: 1,
            memory: nil,
            name: "\(microsecondsPerRow)", log: cluster.log.log,
            makeExperts: { SlowExperts($0, microsecondsPerRow: microsecondsPerRow) })
        Thread { try? worker.run() }.start()
        return worker
    }

    @Test("a slow worker comes to hold fewer experts, while requests are served, to the same bytes")
    func speeds() async throws {
        var timing = TestCluster.timing
        timing.rebalanceInterval = .milliseconds(600)
        let cluster = try TestCluster(.int8, localExperts: false, timing: timing)
        let workers = try [50, 250].map { try worker(cluster, microsecondsPerRow: $0) }
        defer { for worker in workers { worker.stop() } }
        try await cluster.ready(workers: 2)
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.experts == 12 && $0.share == 0.5 })
        var seed: UInt64 = 0
        try await eventually("the slow one has half of what it had") {
            seed += 1
            #expect((try? cluster.compute(seed: seed) == cluster.expected(seed: seed)) == true)
            return cluster.coordinator.status.workers.contains { $0.name == "250" && $0.experts <= 6 }
        }
        let status = cluster.coordinator.status
        #expect(status.workers.allSatisfy { $0.failures == 0 && $0.speed != nil } && status.unownedExperts == 0)
        #expect(cluster.log.contains("the experts are shared out anew"))
        #expect(status.hottest.count == 16 && status.hottest.allSatisfy { $0.share > 0 && $0.copies == 1 })
    }

    @Test("a worker that dies again and again is held off, and says in the status for how long")
    func flapping() async throws {
        let cluster = try TestCluster(.int8)
        func joinAndDie() throws { _ = try RawWorker(joining: cluster.coordinator.endpoint) }
        let begin = ContinuousClock.now
        for deaths in 1...2 {
            try joinAndDie()
            try await eventually("it is gone") { cluster.coordinator.status.workers.isEmpty }
            #expect(cluster.coordinator.status.holdOffs.count == deaths - 1)
        }
        let holdOff = try #require(cluster.coordinator.status.holdOffs.first)
        #expect(holdOff.owner == "raw#1" && holdOff.deaths == 2 && !holdOff.banished && holdOff.seconds == 1)
        let again = try worker(cluster, microsecondsPerRow: 0)
        defer { again.stop() }
        try await cluster.ready(workers: 1)
        try joinAndDie()
        #expect(begin.duration(to: .now) > .seconds(1))
        #expect(cluster.log.contains("a worker that joins again is held off"))
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
    }

    @Test("a worker that never gets ready does not keep others from being used")
    func stalled() async throws {
        var timing = TestCluster.timing
        timing.loadingLimit = .milliseconds(400)
        let cluster = try TestCluster(.int8, timing: timing)
        let stuck = try RawWorker(joining: cluster.coordinator.endpoint, isReady: false)
        try cluster.addWorker()
        try await cluster.ready(workers: 1)
        let members = cluster.coordinator.status.workers
        let left = try #require(members.first { $0.name == "raw" })
        #expect(left.state == "held" && left.hold == "stalled" && left.experts == 0 && left.holdSeconds ?? 0 > 0)
        #expect(members.contains { $0.name == "test" && $0.experts == 24 && $0.holdings == ["0-7", "0-7", "0-7"] })
        #expect(cluster.log.contains("does not come further with loading"))
        try stuck.control.send([ControlMessage.leave(reason: "test").encoded()])
    }

    @Test("the status as JSON has these fields")
    func json() async throws {
        let cluster = try TestCluster(.int8, workers: 1)
        try await cluster.ready(workers: 1)
        _ = try cluster.compute(seed: 1)
        let data = try JSONEncoder().encode(cluster.coordinator.status)
        let status = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(
            Set(status.keys) == [
                "ready", "epoch", "experts", "unownedExperts", "replicas", "replication", "hottest", "localExperts",
                "sharesWork", "rowsComputedHere", "protection", "workers", "holdOffs", "dropped",
            ])
        let worker = try #require((status["workers"] as? [[String: Any]])?.first)
        #expect(
            Set(worker.keys).subtracting(["speed"]) == [
                "id", "name", "state", "experts", "holdings", "memoryBudget", "threads", "share", "batches", "rows",
                "bytesSent", "bytesReceived", "failures", "hedges", "millisecondsPerBatch", "loadedBytes",
                "wantedBytes", "weightsReceived",
            ])
    }

    @Test("experts of a layer are written as ranges")
    func ranges() {
        var set = ExpertSet(shape: FakeModel.shape)
        for expert in [0, 1, 2, 5, 7] { set.insert(layer: 1, expert: expert) }
        #expect(set.ranges(layer: 1) == "0-2,5,7" && set.ranges(layer: 0).isEmpty)
    }
}
