import Checkpoints
import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// The weights port with keys, and those who ask there without being members.
@Suite(.serialized) struct WeightSecurityTests {
    private let checkpoint: Checkpoint
    private let shape: ModelShape
    private let keys: TestKeys
    private let friend, member, thief: (pair: KeyPair, protection: Protection<WorkerKeys>)
    private let coordinator: Coordinator

    init() throws {
        checkpoint = try Checkpoint(directory: try #require(Fixtures.models.first))
        shape = ModelShape(checkpoint.expertConfig)
        keys = try TestKeys()
        (friend, member, thief) = try (keys.worker(), keys.worker(), keys.worker())
        coordinator = try Coordinator(
            checkpoint: checkpoint, precision: .int8, bind: "tcp://127.0.0.1:0", protection: keys.coordinator,
            localExperts: nil, log: .silent)
    }

    private func dropped(_ cause: DropCause) -> Int { coordinator.status.dropped[cause.rawValue] ?? 0 }

    private func expectServing() throws {
        try coordinator.executor.beginStep()
        let alone = try LocalExperts(checkpoint, precision: .int8, threads: 1)
        for layer in 0..<shape.layers {
            let batch = TestBatch(.int8, shape: shape, layer: layer, seed: 5, rows: 3, topK: 2).sane()
            #expect(try batch.run(coordinator.executor) == batch.run(alone))
        }
    }

    /// What comes to whoever asks for a chunk again and again for a while.
    private func answer(to socket: RawSocket, asking question: [UInt8]) throws -> [[UInt8]]? {
        for _ in 0..<20 {
            // There may be no connection to send it over.
            _ = try question.withUnsafeBytes { try socket.socket.send($0, more: false) }
            if let answer = try socket.receive(timeout: .milliseconds(25)) { return answer }
        }
        return nil
    }

    @Test("with keys a worker without checkpoint loads and serves; weights go to members alone, each by its own key")
    func members() async throws {
        defer { coordinator.shutdown() }
        let worker = try Worker(
            coordinators: [CoordinatorAddress(coordinator.endpoint, protection: friend.protection)], threads: 1,
            memory: .max, cache: nil,
            log: .silent)
        Thread { try? worker.run() }.start()
        defer { worker.stop() }
        try await withDeadline { [coordinator] in try await coordinator.waitUntilReady(workers: 1) }
        try expectServing()

        let raw = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: member.protection)
        let question = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: raw.model.digest)
        try raw.ask(.chunk(ExpertID(layer: 0, expert: 0), 0))
        #expect(try raw.weights.receive()?.count == 2)

        let context = try ZMQContext()
        let strangers: [(protection: Protection<WorkerKeys>, id: WorkerID, cause: DropCause?)] = [
            (.thisMachineOnly, raw.id, nil),
            (keys.protection(try KeyPair.generate()), raw.id, .unauthorizedKey),
            (thief.protection, WorkerID(), .unknownSender),
            (thief.protection, raw.id, .foreignIdentity),
        ]
        for stranger in strangers {
            let peer = WeightsPeer(worker: stranger.id, connection: 1)
            let socket = try RawSocket(peer, in: context, protection: stranger.protection)
            try socket.socket.connect(Endpoint(raw.model.weightsEndpoint))
            #expect(try answer(to: socket, asking: question) == nil)
            if let cause = stranger.cause { #expect(dropped(cause) > 0, "\(cause)") }
            try raw.control.send([ControlMessage.heartbeat.encoded()])
        }
        try expectServing()
    }

    @Test("the connection over which weights go to a worker is cut when its key is revoked, though it is silent")
    func silentAndRevoked() async throws {
        defer { coordinator.shutdown() }
        let raw = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: member.protection)
        let other = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: friend.protection)
        let monitors = try (revoked: SocketMonitor(raw.weights.socket), kept: SocketMonitor(other.weights.socket))
        for fetcher in [raw, other] {
            try fetcher.ask(.chunk(ExpertID(layer: 0, expert: 0), 0))
            #expect(try fetcher.weights.receive()?.count == 2)
        }
        try keys.revoke(member.pair)
        try await eventually("it is cut off") { (try? monitors.revoked.next()) == .disconnected }
        try other.ask(.chunk(ExpertID(layer: 0, expert: 0), 0))
        #expect(try other.weights.receive()?.count == 2)
        while let event = try monitors.kept.next() { #expect(event == .connected, "the other one is not") }
    }

    @Test("a worker's newer connection ends the one before, and is cut in its turn when the key is revoked")
    func newerConnection() async throws {
        defer { coordinator.shutdown() }
        let raw = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: member.protection)
        let newer = try RawSocket(
            WeightsPeer(worker: raw.id, connection: 200), in: ZMQContext(), protection: member.protection)
        let monitors = try (older: SocketMonitor(raw.weights.socket), newer: SocketMonitor(newer.socket))
        let question = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: raw.model.digest)
        #expect(try answer(to: raw.weights, asking: question)?.count == 2)
        try newer.socket.connect(Endpoint(raw.model.weightsEndpoint))
        #expect(try answer(to: newer, asking: question)?.count == 2)
        try await eventually("the older one is cut off") { (try? monitors.older.next()) == .disconnected }
        while try raw.weights.receive(timeout: .milliseconds(100)) != nil {}
        #expect(try answer(to: raw.weights, asking: question) == nil, "it comes back, and is not heard")
        try raw.control.send([ControlMessage.heartbeat.encoded()])
        #expect(try answer(to: newer, asking: question)?.count == 2)
        try keys.revoke(member.pair)
        try await eventually("the newer one is cut off") { (try? monitors.newer.next()) == .disconnected }
    }

    @Test("a worker whose key is revoked gets no weights any more, and its connection is cut")
    func revoked() async throws {
        defer { coordinator.shutdown() }
        let raw = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: member.protection)
        let monitor = try SocketMonitor(raw.weights.socket)
        let question = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: raw.model.digest)
        #expect(try answer(to: raw.weights, asking: question)?.count == 2)
        try keys.revoke(member.pair)
        try await eventually("it is gone") { coordinator.status.workers.isEmpty }
        // What was on its way.
        while try raw.weights.receive(timeout: .milliseconds(100)) != nil {}
        #expect(try answer(to: raw.weights, asking: question) == nil)
        #expect(dropped(.unauthorizedKey) > 0)
        try await eventually("it is cut off") { (try? monitor.next()) == .disconnected }
    }
}
