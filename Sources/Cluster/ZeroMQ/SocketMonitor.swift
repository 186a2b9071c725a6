import CZeroMQ

/// Tells of a socket's connections: made, lost, and those that never came about.
package final class SocketMonitor {
    package enum Event: Equatable {
        /// Both sides know each other, and the keys are admitted.
        case connected
        case disconnected
        case handshakeFailed(HandshakeFailure)
    }

    let monitored: ZMQSocket
    /// Readable when there is an event.
    package let socket: ZMQSocket
    private let incoming = ZMQMessage()
    private var handshakeHasFailed = false
    private var accepted: [Int32] = []

    package init(_ monitored: ZMQSocket) throws {
        self.monitored = monitored
        socket = try monitored.monitor(
            ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED
                | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
                | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
    }

    deinit { monitored.stopMonitor() }

    /// The next event, if there is one. That a connection ends whose handshake has just failed is none.
    package func next() throws -> Event? {
        while try socket.receive(incoming) {
            let bytes = incoming.bytes
            guard bytes.count == 6 else { continue }
            let kind = Int32(bytes.loadUnaligned(as: UInt16.self))
            let value = Int32(truncatingIfNeeded: bytes.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
            try socket.discardRest(incoming)
            if kind == ZMQ_EVENT_ACCEPTED {
                accepted.append(value)
                continue
            }
            let hadFailed = handshakeHasFailed
            handshakeHasFailed = false
            switch kind {
            case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return .connected
            case ZMQ_EVENT_DISCONNECTED: if !hadFailed { return .disconnected }
            default:
                handshakeHasFailed = true
                return .handshakeFailed(HandshakeFailure(kind, value))
            }
        }
        return nil
    }

    /// The descriptors of connections that peers have begun, as far as ``next()`` has come across them.
    func takeAccepted() -> [Int32] {
        defer { accepted = [] }
        return accepted
    }
}

/// Why a connection did not come about.
package enum HandshakeFailure: Hashable {
    /// The coordinator does not admit the key.
    case notAuthorized
    /// One side uses keys, the other does not.
    case onlyOneHasKeys
    /// The other side expects another key than this one's.
    case wrongKey
    /// The other side went away, or took too long.
    case ended
    /// What the other side sent is not ZeroMQ.
    case malformed

    init(_ kind: Int32, _ value: Int32) {
        self =
            switch (kind, value) {
            case (ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, _): .notAuthorized
            case (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, _): .ended
            case (_, ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): .onlyOneHasKeys
            case (_, ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): .wrongKey
            default: .malformed
            }
    }
}
