import Checkpoints
import Cluster
import Foundation
import Synchronization
import TestSupport
import Testing
import Transformer

/// A coordinator driven by hand, with the weights of a fixture.
private final class RawCoordinator: Sendable {
    let checkpoint: Checkpoint
    let identity: ModelIdentity
    let chunks: Chunks
    let control: RawSocket
    let data: RawSocket
    let weights: RawSocket
    let id: WorkerID?
    private let frame: [UInt8]
    /// Who asked last for weights.
    private let asker = Mutex<[UInt8]>([])

    /// Takes in the next worker that joins, and gives it one expert.
    init(_ start: (Endpoint) throws -> Void) throws {
        let endpoint = try Endpoint("tcp://127.0.0.1:0")
        checkpoint = try Checkpoint(directory: try #require(Fixtures.models.first))
        identity = try ModelIdentity(checkpoint)
        chunks = Chunks(of: identity)
        let context = try ZMQContext()
        control = try RawSocket(.router, in: context)
        data = try RawSocket(.router, in: context)
        weights = try RawSocket(.router, in: context)
        for socket in [control, data, weights] { try socket.socket.bind(endpoint) }
        try start(control.socket.boundEndpoint())
        frame = try #require(try control.receive()?.first)
        id = frame.withUnsafeBytes(WorkerID.init)
    }

    func send(_ message: ControlMessage) throws { try control.send([frame, message.encoded()]) }

    func introduce(experts: Int = 1) throws {
        try send(
            .model(
                ModelDescription(
                    digest: identity.digest, experts: checkpoint.expertConfig,
                    weightsEndpoint: weights.socket.boundEndpoint().description)))
        try assign(0..<experts, epoch: 1)
    }

    func assign(_ experts: Range<Int>, epoch: UInt64) throws {
        var set = ExpertSet(shape: identity.shape)
        for expert in experts { set.insert(layer: 0, expert: expert) }
        try send(
            .assign(
                Assignment(
                    epoch: epoch, precision: .int8, experts: set, dataEndpoint: data.socket.boundEndpoint().description,
                    heartbeatInterval: .milliseconds(200))))
    }

    func question() throws -> WeightsMessage? {
        try weights.receive(timeout: .milliseconds(50)).map { frames in
            asker.withLock { $0 = frames[0] }
            return try frames[1].withUnsafeBytes {
                try WeightsMessage.decode($0, model: identity, arena: WireArena(capacity: 4096))
            }
        }
    }

    func content(_ question: WeightsMessage) -> [UInt8] {
        let bytes = checkpoint.slices(layer: question.expert.layer, expert: question.expert.expert)
            .flatMap(Array.init)
        let parts = (0..<chunks.count).map { Array(bytes[chunks.range($0)]) }
        return switch question {
        case .manifest: parts.flatMap { part in part.withUnsafeBytes { SHA256.ofLeaves($0) } }
        case .chunk(_, let index): parts[index]
        }
    }

    /// What cannot be sent, for the connection is broken, is lost.
    func answer(_ frames: [[UInt8]]) throws {
        let all = [asker.withLock { $0 }] + frames
        for (index, frame) in all.enumerated() {
            let result = try frame.withUnsafeBytes { try weights.socket.send($0, more: index + 1 < all.count) }
            guard result == .sent else { return }
        }
    }

    func answer(_ question: WeightsMessage, _ content: [UInt8]) throws {
        try answer([question.encoded(digest: identity.digest), content])
    }

    /// Heartbeats, and answers by `answering`, until the worker says something else than that it loads.
    func serve(_ answering: (WeightsMessage) throws -> Void) throws -> ControlMessage? {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            try send(.heartbeat)
            while let question = try question() { try answering(question) }
            while let frames = try control.receive(timeout: .milliseconds(1)) {
                let message = try frames[1].withUnsafeBytes {
                    try ControlMessage.decode($0, shape: identity.shape, arena: WireArena(capacity: 65_536))
                }
                switch message {
                case .heartbeat, .loading, .join: continue
                default: return message
                }
            }
        }
        return nil
    }
}

@Suite(.serialized) struct WeightFetchingTests {
    private let log = LogRecorder()

    /// A worker without checkpoint, on a thread of its own.
    private func start(_ endpoint: Endpoint, memory: Int = .max, cache: WeightCache? = nil) throws -> Worker {
        let worker = try Worker(
            coordinators: [CoordinatorAddress(endpoint)], threads: 1, memory: memory, cache: cache, log: log.log)
        Thread { try? worker.run() }.start()
        return worker
    }

    @Test("what a coordinator sends that was not asked for, or is not what it should be, is dropped; the rest is taken")
    func hostileAnswers() throws {
        var worker: Worker?
        let coordinator = try RawCoordinator { worker = try start($0) }
        defer { worker?.stop() }
        try coordinator.introduce()
        var hasLied = false
        var random = SeededGenerator(seed: 6)
        let answer = try coordinator.serve { question in
            let right = coordinator.content(question)
            if case .chunk = question, !hasLied {
                hasLied = true
                try coordinator.answer(question, right.map { $0 ^ 1 })
            } else {
                let digest = coordinator.identity.digest
                let header = question.encoded(digest: digest)
                let beyond = WeightsMessage.chunk(ExpertID(layer: 9999, expert: 0), 0).encoded(digest: digest)
                let unasked = WeightsMessage.chunk(ExpertID(layer: 1, expert: 1), 0).encoded(digest: digest)
                let other = question.encoded(digest: [1])
                let long = [UInt8](repeating: 0, count: 1000)
                for frames in [
                    [[]], [header], [header, right, right], [header, Array(right.dropLast())], [header, right + [0]],
                    [[0xFF], right], [long, right], [other, right], [beyond, right], [unasked, right],
                ] as [[[UInt8]]] { try coordinator.answer(frames) }
                for _ in 0..<50 {
                    try coordinator.answer([header.mutated(with: [WireTests.endlessNumber], using: &random), []])
                }
                try coordinator.answer(question, right)
                try coordinator.answer(question, right)
            }
        }
        #expect(answer == .ready(epoch: 1))
        for cause in [
            DropCause.wrongDigest, .wrongFrameCount, .wrongFrameSize, .malformedHeader, .oversizedHeader,
            .wrongCheckpoint, .outOfBounds, .unknownSequence,
        ] { #expect(log.contains("cause=\(cause.rawValue)"), "\(cause)") }
    }

    @Test("a coordinator whose weights are never what its manifest says is left, with a clear reason")
    func wrongForEver() throws {
        var worker: Worker?
        let coordinator = try RawCoordinator { worker = try start($0) }
        defer { worker?.stop() }
        try coordinator.introduce()
        let answer = try coordinator.serve { question in
            let right = coordinator.content(question)
            if case .manifest = question {
                try coordinator.answer(question, right)
            } else {
                try coordinator.answer(question, right.map { $0 ^ 1 })
            }
        }
        guard case .leave(let reason) = answer else { return #expect(Bool(false), "it did not leave") }
        #expect(reason.contains("other digests") && reason.contains("expert 0 of layer 0"))
    }

    @Test("more experts than the worker's memory holds are not taken")
    func memory() throws {
        var worker: Worker?
        let size = ExpertLayout(ExpertConfig(try Checkpoint(directory: try #require(Fixtures.models.first)).config))
            .byteCount
        let coordinator = try RawCoordinator { worker = try start($0, memory: 2 * size - 1) }
        defer { worker?.stop() }
        try coordinator.introduce(experts: 2)
        #expect(try coordinator.question() == nil)
        #expect(log.contains("cause=outOfBounds"))
        try coordinator.introduce(experts: 1)
        let answer = try coordinator.serve { try coordinator.answer($0, coordinator.content($0)) }
        #expect(answer == .ready(epoch: 1))
    }

    @Test("what only epochs needed that are in force no more, or never will be, goes though no request comes")
    func released() throws {
        var worker: Worker?
        let coordinator = try RawCoordinator { worker = try start($0) }
        defer { worker?.stop() }
        /// The experts that the worker has to ask for.
        func fetched(_ epoch: UInt64) throws -> Set<Int> {
            var experts: Set<Int> = []
            let answer = try coordinator.serve {
                experts.insert($0.expert.expert)
                try coordinator.answer($0, coordinator.content($0))
            }
            #expect(answer == .ready(epoch: epoch))
            return experts
        }
        try coordinator.introduce()
        #expect(try fetched(1) == [0])
        let steps: [(inForce: ClosedRange<UInt64>, expert: Int, isFetched: Bool)] = [
            (1...1, 1, true), (1...2, 0, false), (3...3, 1, true), (3...3, 2, true), (3...3, 1, true),
            (3...6, 0, false), (3...6, 1, false),
        ]
        for (epoch, step) in zip(UInt64(2)..., steps) {
            try coordinator.send(.inForce(step.inForce))
            try coordinator.assign(step.expert..<step.expert + 1, epoch: epoch)
            #expect(try fetched(epoch) == (step.isFetched ? [step.expert] : []), "epoch \(epoch)")
        }
    }

    @Test("a connection that breaks in the middle costs only what was under way")
    func brokenConnection() throws {
        var worker: Worker?
        let coordinator = try RawCoordinator { worker = try start($0) }
        defer { worker?.stop() }
        try coordinator.introduce(experts: 3)
        var asked: [WeightsMessage: Int] = [:]
        var isBroken = false
        let answer = try coordinator.serve { question in
            asked[question, default: 0] += 1
            if asked.count == 3, !isBroken {
                isBroken = true
                // A frame larger than any disconnects its sender.
                try coordinator.answer([[UInt8](repeating: 0, count: 2 * Chunks.size)])
            } else {
                try coordinator.answer(question, coordinator.content(question))
            }
        }
        #expect(answer == .ready(epoch: 1) && isBroken)
        #expect(asked.values.allSatisfy { $0 <= 2 })
    }
}
