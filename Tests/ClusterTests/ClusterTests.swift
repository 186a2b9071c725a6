import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// Real sockets; nothing is computed but a hash.
@Suite(.serialized) struct ClusterTests {
    @Test("any number of workers gives the same bytes", arguments: Precision.allCases, [0, 1, 2, 3, 5])
    func sameBytes(precision: Precision, workers: Int) async throws {
        let cluster = try TestCluster(precision, workers: workers, localExperts: workers == 0)
        try await cluster.ready(workers: workers)
        for seed in 0..<20 as Range<UInt64> {
            let rows = [1, 2, 7, 33][Int(seed % 4)]
            #expect(try cluster.compute(seed: seed, rows: rows) == cluster.expected(seed: seed, rows: rows))
        }
        let status = cluster.coordinator.status
        #expect(status.workers.count == workers && status.dropped == [:])
        #expect(status.workers.allSatisfy { $0.batches > 0 && $0.state == "ready" && $0.failures == 0 })
        #expect(status.workers.reduce(0) { $0 + $1.experts } + status.unownedExperts == 24)
    }

    @Test("a coordinator that computes a share gives the same bytes", arguments: Precision.allCases, [1, 3])
    func sharedWork(precision: Precision, workers: Int) async throws {
        let cluster = try TestCluster(
            precision, workers: workers, options: DispatchOptions(hedging: .never, verifyRate: 0.1, sharesWork: true))
        try await cluster.ready(workers: workers)
        var rows = 0
        for seed in 0..<50 as Range<UInt64> {
            let count = [1, 2, 7, 33][Int(seed % 4)]
            #expect(try cluster.compute(seed: seed, rows: count) == cluster.expected(seed: seed, rows: count))
            rows += count * 3 * FakeModel.shape.layers
        }
        let status = cluster.coordinator.status
        #expect(status.workers.allSatisfy { $0.rows > 0 && $0.failures == 0 } && status.rowsComputedHere > 0)
        #expect(status.workers.reduce(0) { $0 + $1.rows } + status.rowsComputedHere == rows)
    }

    @Test("a batch larger than a message is cut, and gives the same bytes")
    func largeBatch() async throws {
        let cluster = try TestCluster(.exact, workers: 2)
        try await cluster.ready(workers: 2)
        let rows = DataMessage.maximumAssignments + 7
        #expect(try cluster.compute(seed: 1, rows: rows, topK: 2) == cluster.expected(seed: 1, rows: rows, topK: 2))
    }

    @Test("the largest part of an answer is received", arguments: Precision.allCases)
    func largestPart(precision: Precision) async throws {
        let cluster = try TestCluster(precision, workers: 1, localExperts: false)
        try await cluster.ready(workers: 1)
        // Two parts' worth of one expert's rows, and a rest too small to be a part (proto/cluster.proto).
        let batch = TestBatch(precision, layer: 0, seed: 1, rows: 3 * 256 - 1, topK: 1, expert: 3)
        try cluster.coordinator.executor.beginStep()
        #expect(try batch.run(cluster.coordinator.executor) == batch.run(FakeExperts(precision)))
        #expect(cluster.coordinator.status.workers.map(\.failures) == [0])
    }

    @Test("workers may start before the coordinator, and join again when it restarts")
    func restart() async throws {
        let first = try TestCluster(.int8)
        let endpoint = first.coordinator.endpoint
        first.coordinator.shutdown()
        let log = LogRecorder()
        let workers = try (0..<2).map { _ in try RunningWorker(join: endpoint, log: log.log) }
        defer { for worker in workers { worker.stop() } }

        for _ in 0..<2 {
            var started: TestCluster?
            try await eventually("the port is free again") {
                started = try? TestCluster(.int8, bind: endpoint.description)
                return started != nil
            }
            let cluster = try #require(started)
            try await cluster.ready(workers: 2)
            #expect(try cluster.compute(seed: 5) == cluster.expected(seed: 5))
            cluster.coordinator.shutdown()
        }
    }

    @Test("workers join and leave between batches; the bytes stay the same, and nobody is late")
    func elastic() async throws {
        let cluster = try TestCluster(.int8, workers: 1)
        try await cluster.ready(workers: 1)
        for round in 0..<3 as Range<UInt64> {
            let guest = try cluster.addWorker()
            try await eventually("the guest takes part") {
                cluster.coordinator.isReady && cluster.coordinator.status.workers.count == 2
            }
            for seed in round * 10..<round * 10 + 10 {
                #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed))
            }
            guest.stop()
            var seed = round * 1000
            try await eventually("the guest is released") {
                seed += 1
                return (try? cluster.compute(seed: seed) == cluster.expected(seed: seed)) == true && guest.hasEnded
            }
            #expect(guest.failure == nil)
        }
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.failures == 0 })
    }

    @Test("a worker that stops answering costs no byte, and is not asked again until it has answered")
    func late() async throws {
        var timing = TestCluster.timing
        timing.batchDeadline = .milliseconds(100) ... .milliseconds(500)
        let cluster = try TestCluster(.int8, timing: timing)
        let gate = DispatchSemaphore(value: 0)
        try cluster.addWorker {
            gate.wait()
            gate.signal()
        }
        try await cluster.ready(workers: 1)
        // The worker hangs in its first batch, with heartbeats as ever.
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        let begin = ContinuousClock.now
        #expect(try cluster.compute(seed: 2) == cluster.expected(seed: 2))
        #expect(begin.duration(to: .now) < .milliseconds(500), "only the first batch waits")
        gate.signal()
        var seed: UInt64 = 10
        try await eventually("the worker is asked again") {
            seed += 1
            return (try? cluster.compute(seed: seed) == cluster.expected(seed: seed)) == true
                && (cluster.coordinator.status.workers.first?.batches ?? 0) > 0
        }
        #expect(cluster.coordinator.status.dropped["unknownSequence"] == 1)
    }

    @Test("a worker that cannot compute says so; its rows are computed by the coordinator")
    func failing() async throws {
        struct Broken: Error {}
        let cluster = try TestCluster(.exact)
        try cluster.addWorker { throw Broken() }
        try await cluster.ready(workers: 1)
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        #expect(cluster.coordinator.status.dropped["expertFailure"] == 3)
        #expect(cluster.coordinator.status.workers.first?.failures == 3)
    }

    @Test("without local experts a batch fails with a clear error, and never hangs")
    func noLocalExperts() async throws {
        struct Broken: Error {}
        let cluster = try TestCluster(.exact, localExperts: false)
        let none = #expect(throws: ClusterError.self) { try cluster.compute(seed: 1) }
        #expect(none?.description.contains("has no owner") == true)
        #expect(!cluster.coordinator.isReady)
        try cluster.addWorker { throw Broken() }
        try await cluster.ready(workers: 1)
        let failed = #expect(throws: ClusterError.self) { try cluster.compute(seed: 1) }
        #expect(failed?.description.contains("could not compute") == true)
    }

    @Test("what a worker's memory cannot hold stays with the coordinator")
    func capacity() async throws {
        let cluster = try TestCluster(.int8)
        let worker = try RunningWorker(
            join: cluster.coordinator.endpoint, log: .silent, memory: 5 * FakeModel.identity.bytesPerExpert)
        defer { worker.stop() }
        try await cluster.ready(workers: 1)
        #expect(cluster.coordinator.status.workers.first?.experts == 5)
        #expect(cluster.coordinator.status.unownedExperts == 19)
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
    }

    @Test("waiting for readiness ends with the coordinator, and can be cancelled")
    func waiting() async throws {
        let cluster = try TestCluster(.int8)
        let coordinator = cluster.coordinator
        let cancelled = Task { try await coordinator.waitUntilReady(workers: 1) }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        let waiting = Task { try await coordinator.waitUntilReady(workers: 1) }
        coordinator.shutdown()
        await #expect(throws: ClusterError.self) { try await waiting.value }
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1), "local experts work on")
    }

    @Test("a coordinator that shuts down says so, also to a worker that is still loading")
    func farewell() throws {
        let cluster = try TestCluster(.int8)
        let worker = try RawWorker(joining: cluster.coordinator.endpoint, isReady: false)
        cluster.coordinator.shutdown()
        let message = try worker.nextWord()
        #expect(message == .leave(reason: "the coordinator shuts down"))
    }

    @Test("a worker of another model is refused; both sides say why")
    func refused() async throws {
        let cluster = try TestCluster(.int8)
        let log = LogRecorder()
        let other = ModelIdentity(shape: FakeModel.shape, digest: [9, 9], bytesPerExpert: 1000)
        let worker = try RunningWorker(join: cluster.coordinator.endpoint, model: other, log: log.log)
        defer { worker.stop() }
        try await eventually("the worker ends") { worker.hasEnded }
        #expect("\(worker.failure.map { "\($0)" } ?? "")".contains("digest 0909"))
        #expect(log.contains("digest 0909") && cluster.log.contains("digest 0909"))
    }
}
