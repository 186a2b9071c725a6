import Synchronization

/// Finds the connections to a socket over which a message comes that does not end, and cuts them.
///
/// libzmq bounds each frame and how many messages wait, but keeps the frames of a message, however many, until its last
/// one is there. What libzmq holds of a connection is what the system has received over it since a message of it was last
/// taken; of tiny frames it takes up many times as much. Unix sockets do not tell; who reaches those has this machine.
///
/// Sendable so that it can be made on one thread and given to another; only one thread may use it at a time.
package final class UnendingMessages: @unchecked Sendable {
    private struct Connection {
        let peer: PeerConnection
        /// Taken by the last look at which there were new ones, and what had been received then.
        var messages: UInt64
        var bytes: UInt64
    }

    /// For a socket whose messages are short, and taken at once.
    package static let allowance = 4 << 20
    /// For one whose messages are not: what the system may have received that libzmq has not read.
    package static let bulkAllowance = 64 << 20

    /// Of the socket: whoever has this reads its events.
    package let monitor: SocketMonitor
    private let endpoint: Endpoint
    private let counts = MessageCounts()
    private let limit: UInt64
    private var connections: [Int32: Connection] = [:]

    /// - Parameters:
    ///   - limit: bytes that may have been received over a connection and not been taken.
    ///   - bind: binds the socket, which nobody uses yet: no connection is to be missed.
    /// - Throws: what `bind` throws, and `ZMQError`.
    package init(_ socket: ZMQSocket, limit: Int, bind: (ZMQSocket) throws -> Void) throws {
        monitor = try SocketMonitor(socket)
        self.limit = UInt64(limit)
        socket.counts = counts
        try bind(socket)
        endpoint = try socket.boundEndpoint()
    }

    /// Looks at every connection that the monitor has told of. Returns how many were cut.
    package func cut() -> Int {
        for descriptor in monitor.takeAccepted() {
            connections[descriptor] = PeerConnection(descriptor: descriptor, to: endpoint).map {
                Connection(peer: $0, messages: 0, bytes: 0)
            }
        }
        var cuts = 0
        for (descriptor, connection) in connections {
            guard let bytes = connection.peer.bytesReceived else {
                connections[descriptor] = nil
                continue
            }
            let messages = counts[descriptor]
            if messages != connection.messages {
                let bytes = connection.peer.bytesReceived ?? bytes
                connections[descriptor] = Connection(peer: connection.peer, messages: messages, bytes: bytes)
            } else if bytes > connection.bytes + limit, connection.peer.cut() {
                connections[descriptor] = nil
                cuts += 1
            }
        }
        return cuts
    }
}

/// How many messages a socket has given out, by the descriptor of the connection that they came over.
final class MessageCounts: Sendable {
    private let counts = Mutex<[Int32: UInt64]>([:])

    subscript(descriptor: Int32) -> UInt64 { counts.withLock { $0[descriptor, default: 0] } }

    func add(_ descriptor: Int32) { counts.withLock { $0[descriptor, default: 0] += 1 } }
}
