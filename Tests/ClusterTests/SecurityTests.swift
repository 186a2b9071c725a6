import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// Real sockets with keys, and those who come without, with wrong ones, or with those of others.
@Suite(.serialized) struct SecurityTests {
    private let keys: TestKeys

    init() throws { keys = try TestKeys() }

    /// A coordinator and one worker, both with keys.
    private func makeCluster(
        _ precision: Precision = .int8, bind: String = "tcp://127.0.0.1:0", timing: ClusterTiming = TestCluster.timing
    ) async throws -> TestCluster {
        let worker = try keys.worker()
        let cluster = try TestCluster(precision, bind: bind, protection: keys.coordinator, timing: timing)
        try cluster.addWorker(protection: worker.protection)
        try await cluster.ready(workers: 1)
        return cluster
    }

    private static let kinds = ["tcp", "ipc"]

    /// Where a coordinator may be bound.
    private func endpoint(_ kind: String) -> String {
        kind == "ipc" ? "ipc://\(keys.folder.path)/socket" : "tcp://127.0.0.1:0"
    }

    private func expectServing(_ cluster: TestCluster, seed: UInt64 = 1) throws {
        #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed))
    }

    private func dropped(_ cause: DropCause, _ cluster: TestCluster) -> Int {
        cluster.coordinator.status.dropped[cause.rawValue] ?? 0
    }

    @Test("with keys the bytes are the same, and status tells the keys", arguments: kinds)
    func sameBytes(kind: String) async throws {
        let workers = try (0..<2).map { _ in try keys.worker() }
        let cluster = try TestCluster(.exact, localExperts: false, bind: endpoint(kind), protection: keys.coordinator)
        for worker in workers { try cluster.addWorker(protection: worker.protection) }
        try await cluster.ready(workers: 2)
        for seed in 0..<10 as Range<UInt64> { try expectServing(cluster, seed: seed) }
        let status = cluster.coordinator.status
        #expect(status.protection == "keys" && status.dropped == [:])
        #expect(
            Set(status.workers.compactMap(\.key)) == Set(workers.map { $0.pair.publicKey.description }))
        #expect(cluster.coordinator.publicKey == keys.own.publicKey)
    }

    @Test("no key, a key that is not authorised, another coordinator's key: each side that can know says why, once")
    func notAdmitted() async throws {
        let (stranger, friend) = (try KeyPair.generate(), try keys.worker())
        let cluster = try await makeCluster()
        let attempts: [(protection: Protection<WorkerKeys>, worker: String, coordinator: String)] = [
            (
                keys.protection(stranger), "does not admit this worker's key",
                "a connection was refused, for its key is not authorised"
            ),
            // Only one of them learns of the other's mechanism; the other finds the connection closed.
            (.thisMachineOnly, "start this worker with --key", "a connection was refused; more"),
            (
                .keys(WorkerKeys(own: friend.pair, coordinator: stranger.publicKey)),
                "--coordinator-key is its key", "expects another coordinator's key"
            ),
        ]
        for attempt in attempts {
            let log = LogRecorder()
            let worker = try RunningWorker(
                join: cluster.coordinator.endpoint, protection: attempt.protection, log: log.log)
            defer { worker.stop() }
            try await eventually("the worker says: \(attempt.worker)") { log.contains(attempt.worker) }
            try await eventually("the coordinator says: \(attempt.coordinator)") {
                cluster.log.contains(attempt.coordinator)
            }
            try expectServing(cluster)
            #expect(Set(log.all).count == log.all.count, "nothing is said twice")
        }
        let refusals = cluster.log.all.filter { $0.contains("a connection was refused") }
        #expect(Set(refusals).count == refusals.count, "nothing is said twice")
        #expect(dropped(.unauthorizedKey, cluster) > 0 && dropped(.failedHandshake, cluster) > 1)
        try await cluster.ready(workers: 1)
        #expect(cluster.coordinator.status.workers.count == 1)
    }

    @Test("a worker with keys does not talk to a coordinator without, and both say so")
    func onlyWorkerHasKeys() async throws {
        let cluster = try TestCluster(.int8)
        let worker = try cluster.addWorker(protection: keys.protection(KeyPair.generate()))
        try await eventually("both say so") { cluster.log.contains("it wants keys") }
        try expectServing(cluster)
        #expect(cluster.coordinator.status.workers.isEmpty && !worker.hasEnded)
    }

    @Test(
        "a key that is added is admitted at the next try; one that is taken away is cut off, and added again comes back"
    )
    func revoked() async throws {
        let cluster = try await makeCluster()
        let (pair, log) = (try KeyPair.generate(), LogRecorder())
        let worker = try RunningWorker(
            join: cluster.coordinator.endpoint, protection: keys.protection(pair), log: log.log)
        defer { worker.stop() }
        for count in 1...2 {
            try await eventually("it is refused") { log.all.count { $0.contains("does not admit") } == count }
            try keys.authorize(pair)
            try await cluster.ready(workers: 2)
            for seed in 0..<5 as Range<UInt64> { try expectServing(cluster, seed: seed) }
            let begin = ContinuousClock.now
            try keys.revoke(pair)
            try await eventually("it is gone") { cluster.coordinator.status.workers.count == 1 }
            #expect(begin.duration(to: .now) < .seconds(2))
            for seed in 0..<5 as Range<UInt64> { try expectServing(cluster, seed: seed) }
            try await eventually("it hears why") {
                log.all.count { $0.contains("its key is not authorised any more") } == count
            }
        }
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.failures == 0 })
    }

    @Test(
        "whoever goes on talking after its key was revoked is told why, is not heard, and its connection is cut",
        arguments: kinds)
    func revokedAndStubborn(kind: String) async throws {
        let mallory = try keys.worker()
        let cluster = try await makeCluster(.exact, bind: endpoint(kind))
        let raw = try RawWorker(joining: cluster.coordinator.endpoint, protection: mallory.protection)
        let monitor = try (control: SocketMonitor(raw.control.socket), data: SocketMonitor(raw.data.socket))
        try await cluster.ready(workers: 2)
        let heartbeat = ControlMessage.heartbeat.encoded()
        let answer = DataMessage.response(epoch: 1, sequence: 1, assignments: 1).bytes
        let farewell = ControlMessage.leave(reason: "its key is not authorised any more")
        var (events, wasTold) = (Set<String>(), Bool?.none)
        let begin = ContinuousClock.now
        try keys.revoke(mallory.pair)
        try await eventually("both connections are cut and not made again") {
            for (socket, frames) in [(raw.control, [heartbeat]), (raw.data, [answer, [1]])] {
                for (index, frame) in frames.enumerated() {
                    _ = try? frame.withUnsafeBytes { try socket.socket.send($0, more: index + 1 < frames.count) }
                }
            }
            // Receives, and waits for nobody.
            try? cluster.coordinator.executor.beginStep()
            for (name, monitor) in [("control", monitor.control), ("data", monitor.data)] {
                while let event = try? monitor.next() {
                    events.insert("\(name) \(event)")
                    guard wasTold == nil, event == .disconnected else { continue }
                    wasTold = try? raw.nextWord(timeout: .zero) == farewell
                    #expect(begin.duration(to: .now) > .seconds(1), "it had no time to hear why")
                }
            }
            return events.isSuperset(of: [
                "control disconnected", "control handshakeFailed(Cluster.HandshakeFailure.notAuthorized)",
                "data disconnected", "data handshakeFailed(Cluster.HandshakeFailure.notAuthorized)",
            ])
        }
        #expect(wasTold == true)
        try expectServing(cluster)
        #expect(dropped(.unauthorizedKey, cluster) >= 3)
        #expect(cluster.coordinator.status.workers.allSatisfy { $0.name == "test" && $0.failures == 0 })
    }

    @Test("who answers under another's identity with a key of its own is not heard")
    func stolenIdentity() async throws {
        let (victim, thief) = try (keys.worker(), keys.worker())
        let cluster = try TestCluster(.exact, protection: keys.coordinator)
        let width = ExpertRowFormat(precision: .exact, hiddenSize: FakeModel.shape.hiddenSize).outputBytes
        let raw = try RawWorker(
            joining: cluster.coordinator.endpoint, protection: victim.protection, dataProtection: thief.protection)
        try await cluster.ready(workers: 1)
        raw.serve(1) { raw, request in
            let header = DataMessage.response(
                epoch: request.epoch, sequence: request.sequence, assignments: request.assignments)
            try raw.data.send([header.bytes, [UInt8](repeating: 7, count: request.assignments * width)])
        }
        try expectServing(cluster)
        try cluster.coordinator.executor.beginStep()
        #expect(dropped(.foreignIdentity, cluster) == 1)
    }

    @Test("who joins under an identity that is taken disturbs nobody")
    func takenIdentity() async throws {
        let (victim, thief) = try (keys.worker(), keys.worker())
        let cluster = try await makeCluster()
        let raw = try RawWorker(joining: cluster.coordinator.endpoint, protection: victim.protection)
        try await cluster.ready(workers: 2)
        let context = try ZMQContext()
        let socket = try RawSocket(.dealer, in: context, id: raw.id, protection: thief.protection)
        try socket.socket.connect(cluster.coordinator.endpoint)
        for _ in 0..<20 {
            try socket.send([ControlMessage.leave(reason: "so says the thief").encoded()])
            try raw.control.send([ControlMessage.heartbeat.encoded()])
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(try socket.receive(timeout: .milliseconds(100)) == nil)
        let members = cluster.coordinator.status.workers
        #expect(members.first { $0.name == "raw" }?.state == "ready")
        #expect(members.first { $0.name == "raw" }?.key == victim.pair.publicKey.description)
        #expect(!cluster.log.contains("so says the thief"))
    }

    @Test("a flood of joins by someone who is admitted has an end, and passes")
    func flood() async throws {
        let mallory = try keys.worker()
        // As it is without a word: three hundred handshakes hold up the heartbeats of one thread's sockets for a moment.
        let cluster = try await makeCluster(timing: ClusterTiming())
        let context = try ZMQContext()
        let join = ControlMessage.join(RawWorker.join).encoded()
        let sockets = try (0..<300).map { _ in
            let socket = try RawSocket(.dealer, in: context, id: WorkerID(), protection: mallory.protection)
            try socket.socket.connect(cluster.coordinator.endpoint)
            return socket
        }
        for (count, socket) in sockets.enumerated() {
            try socket.send([join])
            if count % 30 == 0 { try expectServing(cluster, seed: UInt64(count)) }
        }
        try expectServing(cluster)
        try await eventually("they are forgotten, for they say nothing more") {
            cluster.coordinator.status.workers.map(\.name) == ["test"] && cluster.coordinator.isReady
        }
        try expectServing(cluster)
        #expect(
            cluster.coordinator.status.workers.allSatisfy { $0.failures == 0 },
            "\(cluster.log.all.filter { !$0.hasPrefix("debug") && !$0.contains("name=raw") })")
    }

    @Test("someone who is admitted and reads nothing that is sent to it holds up nobody for long")
    func slowReader() async throws {
        var timing = TestCluster.timing
        timing.batchDeadline = .milliseconds(100) ... .milliseconds(200)
        let mallory = try keys.worker()
        let cluster = try TestCluster(.exact, protection: keys.coordinator, timing: timing)
        let raw = try RawWorker(joining: cluster.coordinator.endpoint, protection: mallory.protection)
        try await cluster.ready(workers: 1)
        let begin = ContinuousClock.now
        for seed in 0..<50 as Range<UInt64> {
            try raw.control.send([ControlMessage.heartbeat.encoded()])
            try expectServing(cluster, seed: seed)
        }
        #expect(begin.duration(to: .now) < .seconds(5))
        #expect(cluster.coordinator.status.workers.first?.failures ?? 0 > 0)
    }

    @Test("keys that cannot be read stay as they were, and the log says so once")
    func unreadable() async throws {
        let cluster = try await makeCluster()
        let text = try String(contentsOfFile: keys.path, encoding: .utf8)
        let complaints: () -> Int = { cluster.log.all.count { $0.contains("cannot be read; those read before") } }
        let changes: [() throws -> Void] = [
            { try keys.write("garbage\n" + text) }, { try FileManager.default.removeItem(atPath: keys.path) },
            { try keys.write(text, mode: 0o666) },
        ]
        for (count, change) in changes.enumerated() {
            try change()
            try await eventually("it is said") { complaints() == count + 1 }
            try await Task.sleep(for: .milliseconds(500))
            #expect(complaints() == count + 1)
            #expect(cluster.coordinator.status.workers.count == 1)
            try expectServing(cluster)
        }
        try keys.write("# nobody\n")
        try await eventually("everyone is sent away") { cluster.coordinator.status.workers.isEmpty }
        try expectServing(cluster)
    }

    @Test("a coordinator does not start with keys that it cannot read")
    func missing() throws {
        let authorized = AuthorizedKeysPath(keys.folder.path + "/absent")
        #expect(throws: ClusterError.self) {
            try TestCluster(.int8, protection: .keys(CoordinatorKeys(own: keys.own, authorized: authorized)))
        }
    }

    @Test("without keys and on any address only where that is spelled out, and then loudly")
    func insecure() async throws {
        let cluster = try TestCluster(.int8, protection: .insecure)
        let worker = try cluster.addWorker(protection: .insecure)
        try await cluster.ready(workers: 1)
        try expectServing(cluster)
        #expect(cluster.log.all.count { $0.hasPrefix("warning INSECURE") } == 2)
        #expect(cluster.coordinator.status.protection == "insecure")
        withExtendedLifetime(worker) {}
    }
}
