import Checkpoints
import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// Several coordinators over the same workers.
@Suite(.serialized) struct SharedWorkerTests {
    private func address(_ cluster: TestCluster) -> CoordinatorAddress {
        CoordinatorAddress(cluster.coordinator.endpoint)
    }

    /// Batches of one cluster, one after another on a thread of their own; all must have the right bytes.
    private final class Load: Sendable {
        private let result = Mutex<Result<Void, any Error>?>(nil)

        init(_ cluster: TestCluster, seeds: Range<UInt64>, rows: Int = 5) {
            nonisolated(unsafe) let cluster = cluster  // which the caller leaves alone meanwhile
            Thread { [self] in
                let result = Result {
                    for seed in seeds {
                        let outputs = try cluster.compute(seed: seed, rows: rows)
                        #expect(try outputs == cluster.expected(seed: seed, rows: rows))
                    }
                }
                self.result.withLock { $0 = result }
            }.start()
        }

        func end() async throws {
            try await eventually("all is computed") { result.withLock { $0 != nil } }
            try result.withLock { try $0?.get() }
        }
    }

    private func load(_ cluster: TestCluster, seeds: Range<UInt64>) async throws {
        try await Load(cluster, seeds: seeds).end()
    }

    @Test("each has the bytes that it would have alone, while all compute", arguments: Precision.allCases)
    func sameBytes(precision: Precision) async throws {
        let clusters = try (0..<3).map { _ in try TestCluster(precision, localExperts: false) }
        let workers = try (0..<2).map { _ in try RunningWorker(joining: clusters.map(address)) }
        defer { for worker in workers { worker.stop() } }
        for cluster in clusters { try await cluster.ready(workers: 2) }
        let first = Load(clusters[0], seeds: 0..<150, rows: 1)
        let second = Load(clusters[1], seeds: 0..<150, rows: 2)
        let third = Load(clusters[2], seeds: 0..<40, rows: 33)
        for load in [first, second, third] { try await load.end() }
        for cluster in clusters {
            #expect(cluster.coordinator.status.workers.allSatisfy { $0.failures == 0 && $0.batches > 0 })
            #expect(cluster.coordinator.status.dropped == [:])
        }
    }

    /// Counts batches, and holds the first one back until it is let go.
    private final class HeldExperts: ExpertExecutor, @unchecked Sendable {
        let batches = Mutex<[(layer: Int, assignments: Int)]>([])
        private let isHolding = Mutex(false)
        private let gate = DispatchSemaphore(value: 0)
        private let experts = FakeExperts(.int8)

        func hold() {
            batches.withLock { $0 = [] }
            isHolding.withLock { $0 = true }
        }

        func letGo() {
            isHolding.withLock { $0 = false }
            gate.signal()
        }

        func beginStep() {}
        func finish() {}
        func start(_ batch: ExpertBatch) throws {
            batches.withLock { $0.append((batch.layer, batch.assignments.count)) }
            if isHolding.withLock({ $0 }) { gate.wait() }
            try experts.start(batch)
        }
    }

    @Test("requests of one layer that wait together are one batch; each answer has its own bytes")
    func joint() async throws {
        let clusters = try (0..<4).map { _ in try TestCluster(.int8, localExperts: false) }
        let experts = HeldExperts()
        let worker = try RunningWorker(joining: clusters.map(address)) { _ in experts }
        defer { worker.stop() }
        for cluster in clusters { try await cluster.ready(workers: 1) }
        // Requests over loopback are there in a moment, which can be long on a busy machine.
        for pause in [50, 200, 1000, 5000] {
            experts.hold()
            let batches = try await heldBatches(clusters, experts, pause: .milliseconds(pause))
            guard batches.count > 2, batches[1].assignments == 15 || pause == 5000 else { continue }
            #expect(batches[1].layer == 0 && batches[1].assignments == 15, "the two together: \(batches)")
            #expect(batches[2].layer == 0 && batches[2].assignments == 240, "few rows do not wait for many")
            return
        }
        Issue.record("no batches")
    }

    /// One batch is held; meanwhile two coordinators ask for its layer, and one asks for many more rows of it.
    private func heldBatches(
        _ clusters: [TestCluster], _ experts: HeldExperts, pause: Duration
    ) async throws -> [(layer: Int, assignments: Int)] {
        let first = Load(clusters[0], seeds: 0..<1, rows: 1)
        try await eventually("the first is being computed") { experts.batches.withLock { $0.count == 1 } }
        let second = Load(clusters[1], seeds: 1..<2, rows: 1)
        let third = Load(clusters[2], seeds: 2..<3, rows: 4)
        let large = Load(clusters[3], seeds: 3..<4, rows: 80)
        try await Task.sleep(for: pause)
        experts.letGo()
        for load in [first, second, third, large] { try await load.end() }
        return experts.batches.withLock { $0 }
    }

    @Test("a coordinator that floods, stalls or goes away costs the other nothing but the time of its batches")
    func disturbance() async throws {
        let cluster = try TestCluster(.exact, localExperts: false)
        let raw = try HandDrivenCoordinator()
        let log = LogRecorder()
        let worker = try RunningWorker(joining: [address(cluster), CoordinatorAddress(raw.endpoint)], log: log.log)
        defer { worker.stop() }
        let (id, _) = try raw.takeIn()
        try raw.assign(0..<8, to: id)
        try await cluster.ready(workers: 1)

        // Requests that are right, and such that are not, as fast as they go; not one answer is read.
        let isFlooding = Mutex(true)
        let flooded = DispatchSemaphore(value: 0)
        Thread {
            var random = SeededGenerator(seed: 1)
            while isFlooding.withLock({ $0 }) {
                var frames = raw.request(rows: 4)
                if Bool.random(using: &random) {
                    frames[0] = frames[0].mutated(with: [WireTests.endlessNumber], using: &random)
                }
                raw.trySending(frames, to: id)
            }
            flooded.signal()
        }.start()
        try await load(cluster, seeds: 0..<100)
        // It has been silent, and is given up, while it still floods the data port.
        try await eventually("the worker has given it up") { log.contains("it was silent") }
        try await load(cluster, seeds: 100..<200)
        isFlooding.withLock { $0 = false }
        try await eventually("the flood is over") { flooded.wait(timeout: .now()) == .success }
        let status = cluster.coordinator.status
        #expect(status.workers.allSatisfy { $0.failures == 0 } && status.dropped == [:])
        #expect(try raw.takeIn().join.name == "test", "it joins again by itself")
        try await load(cluster, seeds: 200..<210)
    }

    @Test("a coordinator of another model refuses the worker; the others have it still")
    func refused() async throws {
        let cluster = try TestCluster(.int8, localExperts: false)
        let other = ModelIdentity(shape: FakeModel.shape, digest: [9, 9], bytesPerExpert: 1000)
        let stranger = try Coordinator(
            model: other, precision: .int8, bind: Endpoint("tcp://127.0.0.1:0"), localExperts: nil,
            timing: TestCluster.timing, log: .silent)
        defer { stranger.shutdown() }
        let log = LogRecorder()
        let worker = try RunningWorker(
            joining: [CoordinatorAddress(stranger.endpoint), address(cluster)], log: log.log)
        defer { worker.stop() }
        try await cluster.ready(workers: 1)
        try await eventually("it is refused") { log.contains("has 0909") }
        try await load(cluster, seeds: 0..<10)
        #expect(!worker.hasEnded)
    }

    @Test("a coordinator that cannot be dialled is nothing to the others; where there is no other, the worker ends")
    func undialable() async throws {
        let cluster = try TestCluster(.int8, localExperts: false)
        // Longer than the name of a Unix socket can be.
        let impossible = try CoordinatorAddress("ipc:///" + String(repeating: "x", count: 200))
        let log = LogRecorder()
        let worker = try RunningWorker(joining: [impossible, address(cluster)], log: log.log)
        defer { worker.stop() }
        try await cluster.ready(workers: 1)
        try await eventually("it says so") { log.contains("this worker does not serve the coordinator endpoint=ipc") }
        try await load(cluster, seeds: 0..<10)
        #expect(!worker.hasEnded)
        let other = try RunningWorker(joining: [impossible])
        try await eventually("it has ended") { other.hasEnded }
        #expect("\(try #require(other.failure))".contains("connecting to ipc"))
    }

    @Test("each coordinator is known by its own key")
    func keys() async throws {
        let keys = try (0..<2).map { _ in try TestKeys() }
        let pair = try KeyPair.generate()
        for keys in keys { try keys.authorize(pair) }
        let clusters = try keys.map { try TestCluster(.int8, localExperts: false, protection: $0.coordinator) }
        func worker(_ order: [Int], _ log: Log = .silent) throws -> RunningWorker {
            try RunningWorker(
                joining: zip(clusters, order).map {
                    CoordinatorAddress($0.coordinator.endpoint, protection: keys[$1].protection(pair))
                }, log: log)
        }
        let right = try worker([0, 1])
        for cluster in clusters { try await cluster.ready(workers: 1) }
        for cluster in clusters { try await load(cluster, seeds: 0..<5) }
        right.stop()
        try await eventually("it has gone") { right.hasEnded }
        let log = LogRecorder()
        let wrong = try worker([0, 0], log.log)
        defer { wrong.stop() }
        try await clusters[0].ready(workers: 1)
        try await eventually("it cannot join the other") { log.contains("cannot join") }
        #expect(clusters[1].coordinator.status.workers.isEmpty)
    }

    @Test("coordinators that want the same experts are told of all the memory")
    func agreement() async throws {
        let clusters = try (0..<2).map { _ in try TestCluster(.int8) }
        let memory = 12 * FakeModel.identity.bytesPerExpert
        let worker = try RunningWorker(joining: clusters.map(address), memory: memory)
        defer { worker.stop() }
        for cluster in clusters {
            try await cluster.ready(workers: 1)
            #expect(cluster.coordinator.status.workers.first?.experts == 12)
            try await load(cluster, seeds: 0..<5)
        }
    }

    @Test("a coordinator that sends a worker away again and again does not fill its log")
    func sentAwayAgainAndAgain() async throws {
        let raw = try HandDrivenCoordinator()
        let log = LogRecorder()
        let worker = try RunningWorker(joining: [CoordinatorAddress(raw.endpoint)], log: log.log)
        defer { worker.stop() }
        for round in 0..<12 {
            let (id, _) = try raw.takeIn()
            try raw.assign(0..<8, to: id)
            #expect(try raw.nextWord() == .ready(epoch: 1))
            try raw.send(.leave(reason: "for reason \(round)"), to: id)
        }
        _ = try raw.takeIn()
        #expect(log.all.filter { $0.contains("it said: for reason") }.count == 3)
        #expect(log.all.filter { $0.contains("info joined") }.count == 4, "as often as it was lost, and at first")
    }

    @Test("a placement that is in force is served on, however many others are overtaken before they are")
    func overtaken() throws {
        let raw = try HandDrivenCoordinator()
        let worker = try RunningWorker(joining: [CoordinatorAddress(raw.endpoint)])
        defer { worker.stop() }
        let (id, _) = try raw.takeIn()
        for epoch in 1...2 as ClosedRange<UInt64> {
            try raw.assign(0..<8, epoch: epoch, to: id)
            #expect(try raw.nextWord() == .ready(epoch: epoch))
        }
        // The engine has asked for nothing yet, and takes up the second.
        for epoch in 3...100 as ClosedRange<UInt64> { try raw.assign(0..<4, epoch: epoch, to: id) }
        while try raw.nextWord() != .ready(epoch: 100) {}
        raw.trySending(raw.request(rows: 1, epoch: 2), to: id)
        #expect(try raw.answer()?.count == 3)
    }

    @Test("of departures of one kind three in a minute are said, and the next line tells how many were not")
    func departures() {
        var departures = Departures()
        let start = ContinuousClock.now
        for second in 0..<3 { #expect(departures.note(.sentAway, at: start + .seconds(second)) == 0) }
        for second in 3..<60 { #expect(departures.note(.sentAway, at: start + .seconds(second)) == nil) }
        #expect(departures.note(.silent, at: start + .seconds(59)) == 0, "another kind")
        for unsaid in [57, 0, 0] { #expect(departures.note(.sentAway, at: start + .seconds(60)) == unsaid) }
        #expect(departures.note(.sentAway, at: start + .seconds(119)) == nil)
        #expect(departures.note(.sentAway, at: start + .seconds(120)) == 1)
    }

    @Test("coordinators that want too much together are each joined anew, and told of a part", arguments: [0, 1])
    func division(absent: Int) throws {
        let raw = [try HandDrivenCoordinator(), try HandDrivenCoordinator()]
        let memory = 12 * FakeModel.identity.bytesPerExpert
        let part = UInt64(memory / (2 + absent))
        let nobody = try (0..<absent).map { _ in try CoordinatorAddress("tcp://127.0.0.1:1") }
        let worker = try RunningWorker(joining: raw.map { CoordinatorAddress($0.endpoint) } + nobody, memory: memory)
        defer { worker.stop() }
        var (first, join) = try raw[0].takeIn()
        #expect(join.memoryBudget == UInt64(memory))
        try raw[0].assign(0..<8, to: first)
        #expect(try raw[0].nextWord() == .ready(epoch: 1))
        var second: [UInt8]
        (second, join) = try raw[1].takeIn()
        #expect(join.memoryBudget == UInt64(memory))
        try raw[1].assign(0..<8, layer: 1, to: second)
        for coordinator in raw {
            guard case .leave(let reason) = try coordinator.nextWord() else { throw TimeoutError() }
            #expect(reason.contains("share this worker's memory"))
        }
        try raw[1].send(.leave(reason: "released"), to: second)
        try raw[0].send(.leave(reason: "released"), to: first)
        (first, join) = try raw[0].takeIn()
        #expect(join.memoryBudget == part)
        (second, join) = try raw[1].takeIn()
        #expect(join.memoryBudget == part)
        try raw[0].assign(0..<4, to: first)
        try raw[1].assign(0..<4, layer: 1, to: second)
        for coordinator in raw { #expect(try coordinator.nextWord() == .ready(epoch: 1)) }
    }

    @Test("of two coordinators' experts each comes over the network once, and both have their bytes", arguments: 0..<4)
    func weights(round: Int) async throws {
        let checkpoint = try Checkpoint(directory: try #require(Fixtures.models.first))
        let coordinators = try (0..<2).map { _ in
            try Coordinator(
                checkpoint: checkpoint, precision: .int8, bind: "tcp://127.0.0.1:0", localExperts: nil, log: .silent)
        }
        let worker = try Worker(
            coordinators: coordinators.map { CoordinatorAddress($0.endpoint) }, threads: 1, memory: .max, cache: nil,
            log: .silent)
        Thread { try? worker.run() }.start()
        defer {
            worker.stop()
            for coordinator in coordinators { coordinator.shutdown() }
        }
        for coordinator in coordinators { try await withDeadline { try await coordinator.waitUntilReady(workers: 1) } }
        let shape = ModelShape(checkpoint.expertConfig)
        let alone = try LocalExperts(checkpoint, precision: .int8, threads: 1)
        for coordinator in coordinators {
            try coordinator.executor.beginStep()
            for layer in 0..<shape.layers {
                let batch = TestBatch(.int8, shape: shape, layer: layer, seed: 7, rows: 3, topK: 2).sane()
                #expect(try batch.run(coordinator.executor) == batch.run(alone))
            }
        }
        let members = coordinators.flatMap(\.status.workers)
        #expect(members.allSatisfy { $0.loadedBytes == $0.wantedBytes && $0.wantedBytes > 0 })
        let received = members.reduce(0) { $0 + $1.weightsReceived }
        #expect(Double(received) < Double(members[0].wantedBytes) * 1.1)
    }
}
