import Checkpoints
import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// A worker without checkpoint, driven by hand, that asks for weights.
struct RawFetcher {
    let id = WorkerID()
    let control: RawSocket
    let weights: RawSocket
    let model: ModelDescription
    let identity: ModelIdentity

    init(
        joining endpoint: Endpoint, shape: ModelShape, protection: Protection<WorkerKeys> = .thisMachineOnly
    ) throws {
        let context = try ZMQContext()
        control = try RawSocket(.dealer, in: context, id: id, protection: protection)
        weights = try RawSocket(WeightsPeer(worker: id, connection: 0), in: context, protection: protection)
        try control.socket.connect(endpoint)
        let join = JoinRequest(
            name: "raw", memoryBudget: .max, threads: 1, digest: [], shape: nil, precisions: Precision.allCases)
        try control.send([ControlMessage.join(join).encoded()])
        let frame = try #require(try control.receive()?.first)
        let message = try frame.withUnsafeBytes {
            try ControlMessage.decode($0, shape: shape, arena: WireArena(capacity: 65_536))
        }
        guard case .model(let model) = message else { throw TimeoutError() }
        self.model = model
        identity = ModelIdentity(
            shape: shape, digest: model.digest, bytesPerExpert: ExpertLayout(model.experts).byteCount)
        try weights.socket.connect(Endpoint(model.weightsEndpoint))
    }

    func ask(_ question: WeightsMessage) throws { try weights.send([question.encoded(digest: model.digest)]) }
}

@Suite(.serialized) struct WeightServingTests {
    private let checkpoint: Checkpoint
    private let coordinator: Coordinator
    private let shape: ModelShape

    init() throws {
        checkpoint = try Checkpoint(directory: try #require(Fixtures.models.first))
        shape = ModelShape(checkpoint.expertConfig)
        coordinator = try Coordinator(
            checkpoint: checkpoint, precision: .int8, bind: "tcp://127.0.0.1:0",
            localExperts: LocalExperts(checkpoint, precision: .int8, threads: 1), log: .silent)
    }

    private func dropped(_ cause: DropCause) -> Int { coordinator.status.dropped[cause.rawValue] ?? 0 }

    @Test("the model that it describes is the checkpoint's; manifest and chunks are those of its tensors")
    func answers() throws {
        defer { coordinator.shutdown() }
        let fetcher = try RawFetcher(joining: coordinator.endpoint, shape: shape)
        #expect(fetcher.model.experts == ExpertConfig(checkpoint.config))
        #expect(try fetcher.model.digest == checkpoint.digest())
        let expert = ExpertID(layer: shape.layers - 1, expert: shape.experts - 1)
        let bytes = checkpoint.slices(layer: expert.layer, expert: expert.expert).flatMap(Array.init)
        let chunks = Chunks(of: fetcher.identity)
        #expect(bytes.count == chunks.expertBytes)

        try fetcher.ask(.manifest(expert))
        let manifest = try #require(try fetcher.weights.receive())
        #expect(manifest.count == 2)
        #expect(manifest[0] == WeightsMessage.manifest(expert).encoded(digest: fetcher.model.digest))
        let digests = manifest[1].withUnsafeBytes { Chunks.digests($0) }
        for index in 0..<chunks.count {
            try fetcher.ask(.chunk(expert, index))
            let answer = try #require(try fetcher.weights.receive())
            #expect(answer.count == 2 && answer[1] == Array(bytes[chunks.range(index)]))
            #expect(answer[1].withUnsafeBytes { SHA256.ofLeaves($0) } == digests[index])
        }
    }

    @Test("whoever is no member, and whatever is no question about this model's experts, gets nothing")
    func refusals() async throws {
        defer { coordinator.shutdown() }
        let fetcher = try RawFetcher(joining: coordinator.endpoint, shape: shape)
        let stranger = try RawSocket(WeightsPeer(worker: WorkerID(), connection: 0), in: ZMQContext())
        try stranger.socket.connect(Endpoint(fetcher.model.weightsEndpoint))
        let digest = fetcher.model.digest
        let right = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: digest)
        let far = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 1 << 20).encoded(digest: digest)
        let nowhere = WeightsMessage.manifest(ExpertID(layer: 1 << 20, expert: 0)).encoded(digest: digest)
        let other = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: [1])
        try stranger.send([right])
        for frames in [[right, right], [far], [nowhere], [other], [[0xFF]], [[]], [[UInt8](repeating: 1, count: 200)]] {
            try fetcher.weights.send(frames)
        }
        try fetcher.weights.send([right])
        let answer = try #require(try fetcher.weights.receive())
        #expect(answer.first == right, "the one right question is answered, and no other")
        #expect(try fetcher.weights.receive(timeout: .milliseconds(200)) == nil)
        #expect(try stranger.receive(timeout: .milliseconds(200)) == nil)
        #expect(dropped(.wrongFrameCount) == 1 && dropped(.outOfBounds) == 2 && dropped(.wrongCheckpoint) == 1)
        #expect(dropped(.unknownSender) == 1)
    }

    @Test("one that asks for a hundred thousand chunks and reads none delays neither heartbeats nor others")
    func flood() async throws {
        defer { coordinator.shutdown() }
        let flooder = try RawFetcher(joining: coordinator.endpoint, shape: shape)
        let question = WeightsMessage.chunk(ExpertID(layer: 0, expert: 0), 0).encoded(digest: flooder.model.digest)
        let flooded = DispatchSemaphore(value: 0)
        Thread {
            for _ in 0..<100_000 { try? flooder.weights.send([question]) }
            flooded.signal()
        }.start()
        let worker = try Worker(
            coordinators: [CoordinatorAddress(coordinator.endpoint)], threads: 1, memory: .max, cache: nil, log: .silent
        )
        Thread { try? worker.run() }.start()
        defer { worker.stop() }
        try await eventually("the other has its experts") {
            coordinator.status.workers.contains { $0.wantedBytes > 0 && $0.loadedBytes == $0.wantedBytes }
        }
        try await eventually("it serves") { coordinator.status.workers.contains { $0.experts > 0 } }
        try await eventually("the flood is over") { flooded.wait(timeout: .now()) == .success }
    }
}
