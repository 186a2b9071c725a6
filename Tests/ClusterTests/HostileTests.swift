import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// What comes over the sockets is trusted by neither side.
@Suite(.serialized) struct HostileTests {
    private let width = ExpertRowFormat(precision: .exact, hiddenSize: FakeModel.shape.hiddenSize).outputBytes

    @Test("a worker that dies in the middle of a batch, without a word, costs no byte")
    func diesMidBatch() async throws {
        let cluster = try TestCluster(.exact, workers: 1)
        try await cluster.ready(workers: 1)
        for seed in 0..<3 as Range<UInt64> {
            // Nothing else holds it: when its thread ends, so do its sockets.
            try RawWorker(joining: cluster.coordinator.endpoint).serve(1) { _, _ in }
            try await eventually("both are ready") {
                cluster.coordinator.status.workers.count { $0.state == "ready" } == 2 && cluster.coordinator.isReady
            }
            try await eventually("the placement holds") {
                cluster.coordinator.status.workers.allSatisfy { $0.experts == 12 }
            }
            let begin = ContinuousClock.now
            #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed))
            #expect(begin.duration(to: .now) < .seconds(1.5), "its closed connection is noticed, not its silence")
            try await eventually("the dead is forgotten") { cluster.coordinator.status.workers.count == 1 }
        }
    }

    @Test("a worker that falls silent is not waited for longer than it takes to suspect it")
    func silent() async throws {
        let cluster = try TestCluster(.exact)
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        let begin = ContinuousClock.now
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        #expect(begin.duration(to: .now) < .seconds(1.9), "sooner than the deadline of a batch")
        try await eventually("it is forgotten") { cluster.coordinator.status.workers.isEmpty }
        withExtendedLifetime(worker) {}
    }

    @Test(
        "answers that are stale, duplicate, of wrong size, count or kind are dropped and counted; the right one is taken"
    )
    func wrongAnswers() async throws {
        let cluster = try TestCluster(.exact)
        let wide = width
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        worker.serve(FakeModel.shape.layers) { worker, request in
            let (epoch, sequence, count) = (request.epoch, request.sequence, request.assignments)
            let right = DataMessage.response(epoch: epoch, sequence: sequence, assignments: count).bytes
            let outputs = [UInt8](repeating: 7, count: count * wide)
            for frames in [
                [], [right], [right, Array(outputs.dropLast())], [right, outputs + [0]], [right, outputs, []],
                [[0xFF], outputs], [[UInt8](repeating: 0, count: 5000), outputs],
                [DataMessage.response(epoch: epoch + 1, sequence: sequence, assignments: count).bytes, outputs],
                [DataMessage.response(epoch: epoch, sequence: sequence + 1, assignments: count).bytes, outputs],
                [DataMessage.response(epoch: epoch, sequence: sequence, assignments: count + 1).bytes, outputs],
                [
                    DataMessage.response(epoch: epoch, sequence: sequence, first: 1, assignments: count - 1).bytes,
                    outputs,
                ],
                [DataMessage.response(epoch: epoch, sequence: sequence, assignments: 0).bytes, outputs],
                [DataMessage.failure(epoch: epoch, sequence: sequence + 1, reason: "").bytes],
                [DataMessage.response(epoch: epoch, sequence: sequence - 1, assignments: count).bytes, outputs],
                [right.speaking(version: protocolVersion - 1), outputs],
                [DataMessage.request(request).bytes], [right, outputs], [right, outputs],
            ] as [[[UInt8]]] {
                try worker.data.send(frames)
            }
        }
        let outputs = try cluster.compute(seed: 1)
        #expect(outputs.allSatisfy { $0.allSatisfy { $0 == 7 } }, "the right answer, as the worker gave it")
        #expect(cluster.coordinator.status.workers.first?.failures == 0)
        try cluster.coordinator.executor.beginStep()
        let dropped = cluster.coordinator.status.dropped
        for cause in [
            DropCause.wrongFrameCount, .wrongFrameSize, .malformedHeader, .oversizedHeader, .staleEpoch,
            .unknownSequence, .outOfBounds, .unexpectedMessage, .wrongProtocolVersion,
        ] { #expect((dropped[cause.rawValue] ?? 0) >= 3, "\(cause)") }
        #expect(cluster.log.all.count { $0.contains("cause=staleEpoch") } == 1, "each cause is logged once")
    }

    @Test(
        "of an answer in parts what has come is kept; what comes twice, in disorder or not at all is computed elsewhere"
    )
    func answersInParts() async throws {
        let cluster = try TestCluster(.exact)
        let wide = width
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        worker.serve(FakeModel.shape.layers) { worker, request in
            func send(_ range: Range<Int>, _ byte: UInt8) throws {
                let header = DataMessage.response(
                    epoch: request.epoch, sequence: request.sequence, first: range.lowerBound,
                    assignments: range.count)
                try worker.data.send([header.bytes, [UInt8](repeating: byte, count: range.count * wide)])
            }
            try send(0..<2, 7)
            try send(0..<2, 8)
            try send(3..<4, 8)
            try send(2..<3, 7)
            try send(0..<request.assignments, 8)
            let failure = DataMessage.failure(epoch: request.epoch, sequence: request.sequence, reason: "no more")
            try worker.data.send([failure.bytes])
        }
        let outputs = try cluster.compute(seed: 1)
        let expected = try cluster.expected(seed: 1)
        for (layer, wanted) in zip(outputs, expected) {
            let rows = stride(from: 0, to: wanted.count, by: wide).map { $0..<$0 + wide }
            #expect(rows.count { layer[$0].allSatisfy { $0 == 7 } } == 3, "the first three of the worker's")
            #expect(rows.count { layer[$0] == wanted[$0] } == rows.count - 3, "the others of the coordinator")
        }
        let dropped = cluster.coordinator.status.dropped
        #expect(dropped[DropCause.outOfBounds.rawValue] == 3 * FakeModel.shape.layers)
        #expect(dropped[DropCause.expertFailure.rawValue] == FakeModel.shape.layers)
    }

    @Test("thousands of mutated messages to the coordinator, from a member and from strangers: it serves on")
    func floodsCoordinator() async throws {
        let cluster = try TestCluster(.int8, workers: 1)
        try await cluster.ready(workers: 1)
        let context = try ZMQContext()
        let stranger = try RawSocket(.dealer, in: context, id: WorkerID())
        let nameless = try RawSocket(.dealer, in: context)
        let member = try RawWorker(joining: cluster.coordinator.endpoint)
        for socket in [stranger, nameless] { try socket.socket.connect(cluster.coordinator.endpoint) }
        var random = SeededGenerator(seed: 4)
        let control = WireTests.controlMessages.map { $0.encoded() }
        let data = WireTests.dataMessages.map(\.bytes)
        for round in 0..<3000 {
            let frames = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                ((control + data).randomElement(using: &random) ?? [])
                    .mutated(with: [WireTests.endlessNumber], using: &random)
            }
            try [stranger, nameless, member.control, member.data][round % 4].send(frames)
            if round % 100 == 0 {
                #expect(try cluster.compute(seed: UInt64(round)) == cluster.expected(seed: UInt64(round)))
            }
        }
        try cluster.coordinator.executor.beginStep()
        #expect(cluster.coordinator.status.dropped.values.reduce(0, +) > 500)
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        #expect(cluster.coordinator.status.workers.contains { $0.name == "test" && $0.state == "ready" })
    }

    @Test("thousands of mutated messages to a worker: it serves on")
    func floodsWorker() async throws {
        let context = try ZMQContext()
        let control = try RawSocket(.router, in: context)
        let data = try RawSocket(.router, in: context)
        try control.socket.bind(Endpoint("tcp://127.0.0.1:0"))
        try data.socket.bind(Endpoint("tcp://127.0.0.1:0"))
        let running = try RunningWorker(join: control.socket.boundEndpoint(), log: .silent)
        defer { running.stop() }

        var experts = ExpertSet(shape: FakeModel.shape)
        for expert in 0..<8 { experts.insert(layer: 1, expert: expert) }
        let id = try #require(try control.receive()?.first)
        let assignment = try Assignment(
            epoch: 3, precision: .exact, experts: experts, dataEndpoint: data.socket.boundEndpoint().description,
            heartbeatInterval: .milliseconds(500))
        try control.send([id, ControlMessage.assign(assignment).encoded()])
        let ready = try #require(try control.receive())
        #expect(ready[1] == ControlMessage.ready(epoch: 3).encoded() || ready[1] == ControlMessage.heartbeat.encoded())

        let batch = TestBatch(.exact, layer: 1, seed: 1, rows: 4, topK: 2)
        var pairs: [UInt8] = []
        for assignment in batch.assignments {
            withUnsafeBytes(of: (assignment.row.littleEndian, assignment.expert.littleEndian)) { pairs += $0 }
        }
        func request(_ change: (inout ExpertRequest) -> Void = { _ in }) -> [[UInt8]] {
            var request = ExpertRequest(epoch: 3, sequence: 1, layer: 1, rows: 4, assignments: 8, precision: .exact)
            change(&request)
            return [DataMessage.request(request).bytes, pairs, batch.values, []]
        }
        var broken = [
            request { $0.epoch = 2 }, request { $0.layer = 3 }, request { $0.rows = 3 }, request { $0.rows = 9 },
            request { $0.assignments = 0 }, request { $0.assignments = 1_000_000 }, request { $0.precision = .int8 },
            Array(request().dropLast()), request() + [[]],
        ]
        var beyond = pairs
        beyond[4] = 8
        broken.append([request()[0], beyond, batch.values, []])
        beyond[4] = 0
        beyond[3] = 0x80
        broken.append([request()[0], beyond, batch.values, []])
        for frames in broken { try data.send([id] + frames) }
        var random = SeededGenerator(seed: 5)
        for round in 0..<3000 {
            var frames = request()
            let index = Int.random(in: 0..<frames.count, using: &random)
            frames[index] = frames[index].mutated(with: [WireTests.endlessNumber], using: &random)
            try data.send([id] + frames)
            if round % 3 == 0 {
                // Not a refusal or a leave: these the worker obeys.
                let message = WireTests.controlMessages[[0, 2, 3].randomElement(using: &random) ?? 0].encoded()
                var bytes = message.mutated(with: [WireTests.endlessNumber], using: &random)
                if bytes.contains(0x32) || bytes.contains(0x3A) { bytes = [0xFF] }
                try control.send([id, bytes])
            }
        }
        try data.send([id] + request { $0.sequence = 77 })
        let expected = try batch.run(FakeExperts(.exact))
        let right = DataMessage.response(epoch: 3, sequence: 77, assignments: 8).bytes
        while let answer = try data.receive() {
            if answer[1] == right { return #expect(answer.last == expected) }
        }
        Issue.record("the worker did not answer any more")
    }

    @Test("a worker that speaks another protocol version is refused with the reason")
    func version() async throws {
        let cluster = try TestCluster(.int8)
        let socket = try RawSocket(.dealer, in: ZMQContext(), id: WorkerID())
        try socket.socket.connect(cluster.coordinator.endpoint)
        var join = WireTests.controlMessages[0].encoded()
        join[1] = 99
        try socket.send([join])
        let answer = try #require(try socket.receive()?.first)
        let message = try answer.withUnsafeBytes {
            try ControlMessage.decode($0, shape: FakeModel.shape, arena: WireArena(capacity: 65_536))
        }
        guard case .refuse(let refusal) = message else { return #expect(Bool(false), "not refused") }
        #expect(refusal.cause == .protocolVersion && refusal.reason.contains("protocol version"))
    }
}
