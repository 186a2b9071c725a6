import Cluster
import Foundation
import Testing
import Transformer

/// A socket driven by hand, to say what no worker and no coordinator says.
final class RawSocket: Sendable {
    let socket: ZMQSocket

    init(
        _ kind: ZMQSocket.Kind, in context: ZMQContext, id: WorkerID? = nil,
        protection: Protection<WorkerKeys> = .thisMachineOnly
    ) throws {
        socket = try ZMQSocket(kind, in: context)
        try socket.protect(protection)
        try id?.withUnsafeBytes(socket.setIdentity)
    }

    /// Asks for weights.
    init(_ peer: WeightsPeer, in context: ZMQContext, protection: Protection<WorkerKeys> = .thisMachineOnly) throws {
        socket = try ZMQSocket(.dealer, in: context)
        try socket.protect(protection)
        try peer.withUnsafeBytes(socket.setIdentity)
    }

    /// Waits for the connection, if need be.
    func send(_ frames: [[UInt8]]) throws {
        for (index, frame) in frames.enumerated() {
            let deadline = ContinuousClock.now + .seconds(10)
            while try frame.withUnsafeBytes({ try socket.send($0, more: index + 1 < frames.count) }) != .sent {
                guard ContinuousClock.now < deadline else { throw TimeoutError() }
                usleep(1000)
            }
        }
    }

    /// The next message, or nil after `timeout`.
    func receive(timeout: Duration = .seconds(10)) throws -> [[UInt8]]? {
        let message = ZMQMessage()
        var poller = ZMQPoller([socket])
        let deadline = ContinuousClock.now + timeout
        while try !socket.receive(message) {
            guard ContinuousClock.now < deadline else { return nil }
            _ = try poller.wait(milliseconds: 10)
        }
        var frames = [Array(message.bytes)]
        while try socket.receiveMore(message) { frames.append(Array(message.bytes)) }
        return frames
    }
}

/// A worker that joins properly, and answers requests as a test pleases.
final class RawWorker: Sendable {
    static let join = JoinRequest(
        name: "raw", memoryBudget: .max, threads: 1, digest: FakeModel.identity.digest, shape: FakeModel.shape,
        precisions: Precision.allCases)

    let id = WorkerID()
    let control: RawSocket
    let data: RawSocket
    let dataEndpoint: Endpoint

    /// Joins, and says that it is ready for whatever it is given, unless it is to be loading for ever.
    /// - Parameter dataProtection: by whose key the data socket connects, if by another than the control socket.
    init(
        joining endpoint: Endpoint, isReady: Bool = true, protection: Protection<WorkerKeys> = .thisMachineOnly,
        dataProtection: Protection<WorkerKeys>? = nil
    ) throws {
        let context = try ZMQContext()
        control = try RawSocket(.dealer, in: context, id: id, protection: protection)
        data = try RawSocket(.dealer, in: context, id: id, protection: dataProtection ?? protection)
        try control.socket.connect(endpoint)
        try control.send([ControlMessage.join(Self.join).encoded()])
        let assignment = try Self.nextAssignment(control)
        dataEndpoint = try Endpoint(assignment.dataEndpoint)
        guard isReady else { return }
        let monitor = try SocketMonitor(data.socket)
        try data.socket.connect(dataEndpoint)
        var connecting = ZMQPoller([monitor.socket])
        while try monitor.next() != .connected {
            guard try connecting.wait(milliseconds: 10_000) else { throw TimeoutError() }
        }
        try control.send([ControlMessage.ready(epoch: assignment.epoch).encoded()])
    }

    /// A newcomer may have to wait for its turn, and gets heartbeats meanwhile.
    private static func nextAssignment(_ control: RawSocket) throws -> Assignment {
        while let message = try nextControlMessage(control, timeout: .seconds(10)) {
            if case .assign(let assignment) = message { return assignment }
        }
        throw TimeoutError()
    }

    func nextControlMessage(timeout: Duration = .seconds(10)) throws -> ControlMessage? {
        try Self.nextControlMessage(control, timeout: timeout)
    }

    private static func nextControlMessage(_ control: RawSocket, timeout: Duration) throws -> ControlMessage? {
        try control.receive(timeout: timeout)?.first.map { frame in
            try frame.withUnsafeBytes {
                try ControlMessage.decode($0, shape: FakeModel.shape, arena: WireArena(capacity: 65_536))
            }
        }
    }

    /// The next one that is more than a sign of life.
    func nextWord(timeout: Duration = .seconds(10)) throws -> ControlMessage? {
        while let message = try nextControlMessage(timeout: timeout) {
            switch message {
            case .heartbeat, .inForce: continue
            default: return message
            }
        }
        return nil
    }

    /// Heartbeats and then `count` requests handed to `answer`, on a thread of its own, which then lets go of this.
    func serve(_ count: Int, _ answer: @escaping @Sendable (RawWorker, ExpertRequest) throws -> Void) {
        Thread { [self] in
            do {
                var answered = 0
                while answered < count {
                    try control.send([ControlMessage.heartbeat.encoded()])
                    guard let frames = try data.receive(timeout: .milliseconds(50)) else { continue }
                    guard case .request(let request) = try decode(frames[0]) else { throw TimeoutError() }
                    try answer(self, request)
                    answered += 1
                }
            } catch {
                Issue.record(error)
            }
        }.start()
    }

    private func decode(_ header: [UInt8]) throws -> DataMessage {
        try header.withUnsafeBytes { try DataMessage.decode($0, arena: WireArena(capacity: 16_384)) }
    }
}

extension DataMessage {
    var bytes: [UInt8] { withEncoded(Array.init) }
}

extension [UInt8] {
    /// An encoded message, of which the protocol version is the first field.
    func speaking(version: UInt32) -> [UInt8] { [self[0], UInt8(version)] + dropFirst(2) }
}
