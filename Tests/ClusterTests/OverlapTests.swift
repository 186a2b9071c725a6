import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// Two batches under way over the same sockets, as the forward pass starts and finishes them.
@Suite(.serialized) struct OverlapTests {
    /// A batch with memory of its own, for as long as a test likes.
    private final class HeldBatch {
        private let test: TestBatch
        private let memory: [UnsafeMutableRawBufferPointer]
        private let assignments: UnsafeMutableBufferPointer<ExpertAssignment>
        private var outputMemory: UnsafeMutableRawBufferPointer { memory[2] }

        init(_ precision: Precision, layer: Int, seed: UInt64, rows: Int = 5) {
            test = TestBatch(precision, layer: layer, seed: seed, rows: rows, topK: 3)
            memory = [test.values.count, test.scales.count, test.assignments.count * test.format.outputBytes].map {
                .allocate(byteCount: max(64, $0), alignment: 64)
            }
            memory[0].copyBytes(from: test.values)
            memory[1].copyBytes(from: test.scales)
            assignments = .allocate(capacity: test.assignments.count)
            _ = assignments.initialize(from: test.assignments)
            outputMemory.initializeMemory(as: UInt8.self, repeating: 0)
        }

        deinit {
            for buffer in memory { buffer.deallocate() }
            assignments.deallocate()
        }

        var outputs: [UInt8] { Array(outputMemory.prefix(test.assignments.count * test.format.outputBytes)) }
        var isUntouched: Bool { outputMemory.allSatisfy { $0 == 0 } }
        func expected() throws -> [UInt8] { try test.run(FakeExperts(test.format.precision)) }

        func start(_ experts: ClusterExperts) throws {
            let starts = memory.compactMap(\.baseAddress)
            try experts.start(
                ExpertBatch(
                    layer: test.layer, rowCount: test.rows, values: starts[0], scales: starts[1],
                    assignments: UnsafeBufferPointer(assignments), outputs: starts[2]))
        }
    }

    /// Two micro-batches through all layers. `attention` takes the place of what the coordinator does in between.
    private func step(
        _ experts: ClusterExperts, _ precision: Precision, seed: UInt64, rows: Int = 5, attention: () -> Void = {}
    ) throws -> [HeldBatch] {
        try experts.beginStep()
        let batches = (0..<FakeModel.shape.layers * 2).map {
            HeldBatch(precision, layer: $0 / 2, seed: seed &+ UInt64($0 % 2) &* 1000, rows: rows)
        }
        for (index, batch) in batches.enumerated() {
            if index >= 2 { try experts.finish() }
            attention()
            try batch.start(experts)
        }
        for _ in 0..<2 { try experts.finish() }
        return batches
    }

    private func expectRight(_ batches: [HeldBatch], _ comment: Comment? = nil) throws {
        for batch in batches { #expect(try batch.outputs == batch.expected(), comment) }
    }

    /// A cluster whose only worker holds requests until a test answers them.
    private func clusterWithRawWorker(
        localExperts: Bool = true, timing: ClusterTiming = TestCluster.timing
    ) async throws -> (TestCluster, RawWorker) {
        let cluster = try TestCluster(.exact, localExperts: localExperts, timing: timing)
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        return (cluster, worker)
    }

    private func answer(_ request: ExpertRequest, epoch: UInt64? = nil, _ byte: UInt8) -> [[UInt8]] {
        let width = ExpertRowFormat(precision: .exact, hiddenSize: FakeModel.shape.hiddenSize).outputBytes
        let header = DataMessage.response(
            epoch: epoch ?? request.epoch, sequence: request.sequence, assignments: request.assignments)
        return [header.bytes, [UInt8](repeating: byte, count: request.assignments * width)]
    }

    @Test("two batches under way give the bytes of one after another", arguments: Precision.allCases, [false, true])
    func sameBytes(precision: Precision, sharesWork: Bool) async throws {
        let workers = sharesWork ? 2 : 3
        let cluster = try TestCluster(
            precision, workers: workers, localExperts: sharesWork, replicas: 2,
            options: DispatchOptions(hedging: .automatic, verifyRate: 0.1, sharesWork: sharesWork))
        try await cluster.ready(workers: workers)
        for seed in 0..<20 as Range<UInt64> {
            try expectRight(
                step(cluster.coordinator.executor, precision, seed: seed, rows: [1, 2, 7, 33][Int(seed % 4)]))
        }
        // Larger than a message.
        try expectRight(step(cluster.coordinator.executor, precision, seed: 1, rows: DataMessage.maximumAssignments))
        let status = cluster.coordinator.status
        #expect(status.dropped == [:] && status.workers.allSatisfy { $0.failures == 0 })
    }

    @Test("the coordinator's own share is computed beside the workers'")
    func ownShare() async throws {
        let cluster = try TestCluster(.int8)
        let worker = try RunningWorker(
            join: cluster.coordinator.endpoint, log: .silent, memory: 11 * FakeModel.identity.bytesPerExpert)
        defer { worker.stop() }
        try await cluster.ready(workers: 1)
        for seed in 0..<20 as Range<UInt64> {
            try expectRight(step(cluster.coordinator.executor, .int8, seed: seed))
        }
    }

    @Test("an answer finds its batch, whichever comes first, and a stale one finds none")
    func answersInAnyOrder() async throws {
        let (cluster, worker) = try await clusterWithRawWorker(localExperts: false)
        let first = Mutex<ExpertRequest?>(nil)
        worker.serve(2) { [self] worker, request in
            guard
                let earlier = first.withLock({ held in
                    defer { held = request }; return held
                })
            else { return }
            try worker.data.send(answer(request, epoch: request.epoch + 1, 9))
            try worker.data.send(answer(request, 2))
            try worker.data.send(answer(request, 9))
            try worker.data.send(answer(earlier, 1))
        }
        let experts = cluster.coordinator.executor
        try experts.beginStep()
        let batches = [HeldBatch(.exact, layer: 0, seed: 1), HeldBatch(.exact, layer: 0, seed: 2)]
        for batch in batches { try batch.start(experts) }
        try experts.finish()
        #expect(batches[0].outputs.allSatisfy { $0 == 1 })
        try experts.finish()
        #expect(batches[1].outputs.allSatisfy { $0 == 2 })
        #expect(cluster.coordinator.status.dropped == ["staleEpoch": 1, "unknownSequence": 1])
    }

    @Test("a worker that fails one batch is still believed for the other")
    func failsOne() async throws {
        let (cluster, worker) = try await clusterWithRawWorker()
        worker.serve(2) { [self] worker, request in
            if request.sequence % 2 == 1 {
                let failure = DataMessage.failure(epoch: request.epoch, sequence: request.sequence, reason: "no")
                try worker.data.send([failure.bytes])
            } else {
                try worker.data.send(answer(request, 4))
            }
        }
        let experts = cluster.coordinator.executor
        try experts.beginStep()
        let batches = [HeldBatch(.exact, layer: 0, seed: 1), HeldBatch(.exact, layer: 0, seed: 2)]
        for batch in batches { try batch.start(experts) }
        for _ in batches { try experts.finish() }
        try expectRight([batches[0]], "computed by the coordinator")
        #expect(batches[1].outputs.allSatisfy { $0 == 4 })
        #expect(cluster.coordinator.status.workers.first?.failures == 1)
    }

    @Test("a late worker costs one deadline, not one for each batch; both answers may still come")
    func late() async throws {
        var timing = TestCluster.timing
        timing.batchDeadline = .milliseconds(200) ... .milliseconds(1500)
        timing.heartbeatInterval = .seconds(2)
        let (cluster, worker) = try await clusterWithRawWorker(timing: timing)
        let requests = Mutex<[ExpertRequest]>([])
        worker.serve(2) { _, request in requests.withLock { $0.append(request) } }
        let experts = cluster.coordinator.executor
        let begin = ContinuousClock.now
        let batches = try step(experts, .exact, seed: 1)
        #expect(begin.duration(to: .now) < .milliseconds(2500), "one deadline, not one for each batch")
        try expectRight(batches)
        for request in requests.withLock({ $0 }) { try worker.data.send(answer(request, 9)) }
        try await eventually("both are dropped") {
            (try? experts.beginStep()) != nil && cluster.coordinator.status.dropped["unknownSequence"] == 2
        }
        try expectRight(batches, "finished batches are not written again")
    }

    @Test("a worker that dies with two batches costs no byte")
    func dies() async throws {
        let cluster = try TestCluster(.exact, workers: 1)
        try await cluster.ready(workers: 1)
        // Nothing else holds it: when its thread ends, so do its sockets.
        try RawWorker(joining: cluster.coordinator.endpoint).serve(2) { _, _ in }
        try await eventually("both take part") {
            cluster.coordinator.isReady && cluster.coordinator.status.workers.allSatisfy { $0.experts == 12 }
                && cluster.coordinator.status.workers.count == 2
        }
        let begin = ContinuousClock.now
        try expectRight(step(cluster.coordinator.executor, .exact, seed: 3))
        #expect(begin.duration(to: .now) < .seconds(1.5), "its closed connection is noticed, not its silence")
    }

    @Test("after an error nothing is written to either batch, and the next step works")
    func error() async throws {
        let (cluster, worker) = try await clusterWithRawWorker(localExperts: false)
        let second = Mutex<ExpertRequest?>(nil)
        worker.serve(3) { [self] worker, request in
            switch request.sequence {
            case 1:
                let failure = DataMessage.failure(epoch: request.epoch, sequence: request.sequence, reason: "no")
                try worker.data.send([failure.bytes])
            case 2: second.withLock { $0 = request }
            default:
                // What is owed comes before what is asked now.
                try worker.data.send(answer(second.withLock { $0 } ?? request, 9))
                try worker.data.send(answer(request, 3))
            }
        }
        let experts = cluster.coordinator.executor
        try experts.beginStep()
        let batches = [HeldBatch(.exact, layer: 0, seed: 1), HeldBatch(.exact, layer: 0, seed: 2)]
        for batch in batches { try batch.start(experts) }
        let failure = #expect(throws: ClusterError.self) { try experts.finish() }
        #expect(failure?.description.contains("could not compute") == true)
        try experts.finish()  // Nothing is under way.

        try experts.beginStep()
        let next = HeldBatch(.exact, layer: 0, seed: 3)
        try next.start(experts)
        try experts.finish()
        #expect(next.outputs.allSatisfy { $0 == 3 })
        #expect(batches.allSatisfy { $0.isUntouched })
        #expect(cluster.coordinator.status.dropped["unknownSequence"] == 1)
    }

    @Test("a step that begins while batches are under way forgets them")
    func forgotten() async throws {
        let (cluster, worker) = try await clusterWithRawWorker()
        worker.serve(2) { [self] worker, request in try worker.data.send(answer(request, 9)) }
        let experts = cluster.coordinator.executor
        try experts.beginStep()
        let batches = [HeldBatch(.exact, layer: 0, seed: 1), HeldBatch(.exact, layer: 0, seed: 2)]
        for batch in batches { try batch.start(experts) }
        try await eventually("the answers are dropped") {
            (try? experts.beginStep()) != nil && cluster.coordinator.status.dropped["unknownSequence"] == 2
        }
        #expect(batches.allSatisfy { $0.isUntouched })
        let next = HeldBatch(.exact, layer: 0, seed: 3)
        worker.serve(1) { [self] worker, request in try worker.data.send(answer(request, 5)) }
        try next.start(experts)
        try experts.finish()
        #expect(next.outputs.allSatisfy { $0 == 5 }, "it has settled what it owed, so it is asked again")
    }

    @Test("workers compute one batch while the coordinator attends from the other")
    func overlaps() async throws {
        let cluster = try TestCluster(.int8, localExperts: false)
        for _ in 0..<2 { try cluster.addWorker { usleep(4000) } }
        try await cluster.ready(workers: 2)
        let times = try (0..<10).map { seed in
            let begin = ContinuousClock.now
            _ = try step(cluster.coordinator.executor, .int8, seed: UInt64(seed)) { usleep(4000) }
            return begin.duration(to: .now)
        }
        // Of each layer and batch 4 ms of attention and 4 ms of experts: 48 ms one after another, 28 ms overlapped.
        #expect(times.min().map { $0 < .milliseconds(38) } == true, "\(times)")
    }
}
