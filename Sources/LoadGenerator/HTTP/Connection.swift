import Foundation

/// A connection and the exchange that it carries, if any.
///
/// Why not URLSession: on Linux it keeps most of a core busy as long as any response is open, and the core that a load
/// generator burns is one that the measured server does not get.
final class Connection {
    let descriptor: Int32
    /// Nil while it waits to be used again.
    var exchange: Exchange?
    /// What is still to be sent.
    private var outgoing: ArraySlice<UInt8>
    /// The whole request, kept while it could have to be sent again on another connection.
    private(set) var request: [UInt8]
    /// Whether it has carried another exchange before.
    private(set) var isReused = false
    /// Whether the socket is closed: its number may already be another's.
    private(set) var isClosed = false

    /// What one look at the socket found.
    enum Arrival {
        case bytes([UInt8])
        /// Nothing for now.
        case nothing
        /// The other side has closed, for this reason.
        case closed(String)
    }

    init(_ descriptor: Int32, _ exchange: Exchange, request: [UInt8]) {
        self.descriptor = descriptor
        self.exchange = exchange
        self.request = request
        outgoing = request[...]
    }

    deinit { hangUp() }

    /// Closes the socket. What still refers to the connection finds it closed.
    func hangUp() {
        guard !isClosed else { return }
        isClosed = true
        close(descriptor)
    }

    /// Takes the next exchange after one that left the connection open.
    func reuse(_ exchange: Exchange, request: [UInt8]) {
        isReused = true
        self.exchange = exchange
        self.request = request
        outgoing = request[...]
    }

    /// Whether there is more to send.
    var isSending: Bool { !outgoing.isEmpty }

    /// Whether any of the request has left.
    var hasSent: Bool { outgoing.count < request.count }

    /// Sends what the socket takes; what goes wrong shows when it is read.
    func send() {
        while !outgoing.isEmpty {
            let count = outgoing.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            outgoing = outgoing.dropFirst(count)
        }
    }

    /// Reads what has come, at most a buffer full.
    func receive(into buffer: inout [UInt8]) -> Arrival {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count > 0 { return .bytes(Array(buffer[..<count])) }
        if count == 0 { return .closed("the server closed the connection") }
        if errno == EAGAIN || errno == EINTR { return .nothing }
        return .closed(String(cString: strerror(errno)))
    }
}
