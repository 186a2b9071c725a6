import Cluster
import Foundation
import Testing
import Transformer

/// A coordinator whose every word is a test's.
final class HandDrivenCoordinator: Sendable {
    let endpoint: Endpoint
    let dataEndpoint: Endpoint
    private let control, data: RawSocket

    init() throws {
        let context = try ZMQContext()
        control = try RawSocket(.router, in: context)
        data = try RawSocket(.router, in: context)
        for socket in [control, data] { try socket.socket.bind(Endpoint("tcp://127.0.0.1:0")) }
        endpoint = try control.socket.boundEndpoint()
        dataEndpoint = try data.socket.boundEndpoint()
    }

    func send(_ message: ControlMessage, to id: [UInt8]) throws { try control.send([id, message.encoded()]) }

    private func receive() throws -> (id: [UInt8], message: ControlMessage) {
        guard let frames = try control.receive() else { throw TimeoutError() }
        let message = try frames[1].withUnsafeBytes {
            try ControlMessage.decode($0, shape: FakeModel.shape, arena: WireArena(capacity: 65_536))
        }
        // Lest it be taken for dead.
        for frame in [frames[0], ControlMessage.heartbeat.encoded()] {
            _ = frame.withUnsafeBytes { try? control.socket.send($0, more: frame == frames[0]) }
        }
        return (frames[0], message)
    }

    /// The next worker that joins.
    func takeIn() throws -> (id: [UInt8], join: JoinRequest) {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            let (id, message) = try receive()
            if case .join(let join) = message { return (id, join) }
        }
        throw TimeoutError()
    }

    /// The next message that is more than a sign of life.
    func nextWord() throws -> ControlMessage {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            let (_, message) = try receive()
            if message != .heartbeat { return message }
        }
        throw TimeoutError()
    }

    func assign(_ experts: Range<Int>, layer: Int = 0, epoch: UInt64 = 1, to id: [UInt8]) throws {
        var set = ExpertSet(shape: FakeModel.shape)
        for expert in experts { set.insert(layer: layer, expert: expert) }
        try send(
            .assign(
                Assignment(
                    epoch: epoch, precision: .exact, experts: set, dataEndpoint: dataEndpoint.description,
                    heartbeatInterval: .milliseconds(200))), to: id)
    }

    /// The frames of a request for the first expert.
    func request(rows: Int, epoch: UInt64 = 1) -> [[UInt8]] {
        let format = ExpertRowFormat(precision: .exact, hiddenSize: FakeModel.shape.hiddenSize)
        let header = ExpertRequest(
            epoch: epoch, sequence: 1, layer: 0, rows: rows, assignments: rows, precision: .exact)
        let pairs = (0..<rows).flatMap { row in withUnsafeBytes(of: (Int32(row).littleEndian, Int32(0)), Array.init) }
        return [DataMessage.request(header).bytes, pairs, [UInt8](repeating: 1, count: rows * format.valueBytes), []]
    }

    /// What comes over the data port.
    func answer() throws -> [[UInt8]]? { try data.receive() }

    /// Sends over the data port, unless there is no room.
    func trySending(_ frames: [[UInt8]], to id: [UInt8]) {
        let all = [id] + frames
        for (index, frame) in all.enumerated() {
            let result = frame.withUnsafeBytes { try? data.socket.send($0, more: index + 1 < all.count) }
            guard result == .sent else { return }
        }
    }
}
