import CZeroMQ

/// A ZeroMQ socket. Nothing blocks here: ``ZMQPoller`` waits.
///
/// Sendable so that it can be made on one thread and given to another; only one thread may use it at a time, and whoever
/// hands it over synchronises.
package final class ZMQSocket: @unchecked Sendable {
    package enum Kind: Int32 {
        case router = 6
        case dealer = 5
        case pair = 0
        case reply = 4
    }

    /// What became of a frame that was to be sent.
    package enum SendResult { case sent, wouldBlock, unreachable }

    let handle: UnsafeMutableRawPointer
    private let context: ZMQContext
    /// Counts the messages that are received, where anybody wants to know.
    var counts: MessageCounts?

    /// - Parameters:
    ///   - linger: milliseconds for which unsent messages are kept after closing.
    package init(_ kind: Kind, in context: ZMQContext, linger: Int32 = 0) throws {
        guard let handle = zmq_socket(context.handle, kind.rawValue) else { throw ZMQError("creating a ZeroMQ socket") }
        self.handle = handle
        self.context = context
        try set(ZMQ_LINGER, linger)
        try serve(onThread: 0)
        try keepAlive()
        switch kind {
        // A message for a worker that is gone is an error, not a silence.
        case .router:
            try set(ZMQ_ROUTER_MANDATORY, 1)
            // Connections that say nothing must not crowd out those that do.
            try set(ZMQ_HANDSHAKE_IVL, 5000)
            try set(ZMQ_BACKLOG, 1024)
        case .dealer:
            // ZMQ_IMMEDIATE, which queues nothing for a coordinator that is absent, is not for a socket that receives messages
            // of several frames: libzmq 4.3 aborts the process when a connection ends between two of them (fq.cpp). Who is
            // to know whether there is a connection asks ``SocketMonitor``.
            // The system would try again after ever longer pauses: a cable that is back is to be noticed soon.
            try set(ZMQ_CONNECT_TIMEOUT, 2000)
            try set(ZMQ_RECONNECT_IVL, 50)
            try set(ZMQ_RECONNECT_IVL_MAX, 500)
        case .pair, .reply: break
        }
    }

    deinit { zmq_close(handle) }

    /// Frames larger than `frameBytes` disconnect their sender; at most `queue` messages wait for this side.
    package func limit(frameBytes: Int, queue: Int32) throws {
        // CurveZMQ (RFC 26) adds 33 bytes to a frame, and its handshake needs some hundreds, which libzmq counts as well.
        var limit = Int64(max(frameBytes + 33, 1024))
        guard zmq_setsockopt(handle, ZMQ_MAXMSGSIZE, &limit, MemoryLayout<Int64>.size) == 0 else {
            throw ZMQError("setting ZMQ_MAXMSGSIZE")
        }
        try set(ZMQ_RCVHWM, queue)
    }

    /// At most `queue` messages wait to be sent to each peer; further ones cannot be sent.
    package func limitSending(queue: Int32) throws { try set(ZMQ_SNDHWM, queue) }

    /// For a socket that carries much and is in no hurry: at most `queue` messages wait to be sent to each peer, its
    /// connections have the context's second thread to themselves, and what goes out is marked as bulk (RFC 1349), which
    /// Linux's default queue sends after everything else.
    package func yieldToOthers(queue: Int32) throws {
        try limitSending(queue: queue)
        try set(ZMQ_TOS, 0x08)
        try serve(onThread: 1)
    }

    /// So that a firewall or a NAT does not forget a connection over which nothing is said for minutes, and that one whose
    /// other end is gone, without a word, ends within a minute.
    private func keepAlive() throws {
        try set(ZMQ_TCP_KEEPALIVE, 1)
        try set(ZMQ_TCP_KEEPALIVE_IDLE, 30)  // seconds
        try set(ZMQ_TCP_KEEPALIVE_INTVL, 10)
        try set(ZMQ_TCP_KEEPALIVE_CNT, 3)
    }

    private func serve(onThread index: Int) throws {
        var threads: UInt64 = 1 << index
        guard zmq_setsockopt(handle, ZMQ_AFFINITY, &threads, MemoryLayout<UInt64>.size) == 0 else {
            throw ZMQError("setting ZMQ_AFFINITY")
        }
    }

    /// How a ROUTER is to know this socket.
    package func setIdentity(_ identity: UnsafeRawBufferPointer) throws {
        guard zmq_setsockopt(handle, ZMQ_ROUTING_ID, identity.baseAddress, identity.count) == 0 else {
            throw ZMQError("setting ZMQ_ROUTING_ID")
        }
    }

    package func bind(_ endpoint: Endpoint) throws {
        if endpoint.isIPv6 { try set(ZMQ_IPV6, 1) }
        guard zmq_bind(handle, endpoint.description) == 0 else { throw ZMQError("binding \(endpoint)") }
    }

    /// Binds the first of the endpoints that can be had.
    /// - Throws: ``ZMQError`` of the last one.
    func bind(toFirstOf endpoints: [Endpoint]) throws {
        for endpoint in endpoints.dropLast() {
            if (try? bind(endpoint)) != nil { return }
        }
        if let last = endpoints.last { try bind(last) }
    }

    package func connect(_ endpoint: Endpoint) throws {
        if endpoint.isIPv6 { try set(ZMQ_IPV6, 1) }
        guard zmq_connect(handle, endpoint.description) == 0 else { throw ZMQError("connecting to \(endpoint)") }
    }

    /// Where this socket is bound, with the port that was chosen.
    package func boundEndpoint() throws -> Endpoint {
        var text = [CChar](repeating: 0, count: 512)
        var count = text.count
        guard zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &text, &count) == 0 else {
            throw ZMQError("reading ZMQ_LAST_ENDPOINT")
        }
        return try Endpoint(
            String(decoding: text.prefix(max(count - 1, 0)).map(UInt8.init(bitPattern:)), as: UTF8.self),
            beyondThisMachine: true)
    }

    /// A socket on which `events` of this one are reported.
    func monitor(_ events: Int32) throws -> ZMQSocket {
        // An earlier monitor's address is in use until libzmq has closed its end.
        let address = "inproc://monitor-\(UInt64.random(in: .min ... .max))"
        guard zmq_socket_monitor(handle, address, events) == 0 else { throw ZMQError("monitoring a socket") }
        let monitor = try ZMQSocket(.pair, in: context)
        // Where the queue is full, libzmq's own thread waits.
        try monitor.set(ZMQ_RCVHWM, 0)
        guard zmq_connect(monitor.handle, address) == 0 else { throw ZMQError("connecting to \(address)") }
        return monitor
    }

    func stopMonitor() { zmq_socket_monitor(handle, nil, 0) }

    func set(_ option: Int32, _ text: String) throws {
        guard zmq_setsockopt(handle, option, text, text.utf8.count) == 0 else {
            throw ZMQError("setting ZeroMQ option \(option)")
        }
    }

    func set(_ option: Int32, _ value: Int32) throws {
        var value = value
        guard zmq_setsockopt(handle, option, &value, MemoryLayout<Int32>.size) == 0 else {
            throw ZMQError("setting ZeroMQ option \(option)")
        }
    }
}

extension ZMQSocket {
    /// Copies `bytes` into a frame and sends it.
    package func send(_ bytes: UnsafeRawBufferPointer, more: Bool) throws -> SendResult {
        try sending(more) { zmq_send(handle, bytes.baseAddress, bytes.count, $0) }
    }

    /// Sends the frame without copying it; it is empty afterwards.
    package func send(_ message: ZMQMessage, more: Bool) throws -> SendResult {
        try sending(more) { zmq_msg_send(message.handle, handle, $0) }
    }

    private func sending(_ more: Bool, _ send: (Int32) -> Int32) throws -> SendResult {
        while send(ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0 {
            switch zmq_errno() {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            case EHOSTUNREACH: return .unreachable
            default: throw ZMQError("sending")
            }
        }
        return .sent
    }

    /// Receives one frame if there is one.
    package func receive(_ message: ZMQMessage) throws -> Bool {
        while zmq_msg_recv(message.handle, handle, ZMQ_DONTWAIT) < 0 {
            switch zmq_errno() {
            case EINTR: continue
            case EAGAIN: return false
            default: throw ZMQError("receiving")
            }
        }
        if let counts, !message.hasMore { counts.add(message.descriptor) }
        return true
    }

    /// Receives the next frame of the message that `message` began; false if that was the last.
    package func receiveMore(_ message: ZMQMessage) throws -> Bool {
        try message.hasMore && receive(message)
    }

    /// Throws away the rest of the message that `message` began.
    package func discardRest(_ message: ZMQMessage) throws {
        while try receiveMore(message) {}
    }

    /// Takes note of connections made and lost since the last call on this socket.
    package func refresh() {
        var events: Int32 = 0
        var size = MemoryLayout<Int32>.size
        zmq_getsockopt(handle, ZMQ_EVENTS, &events, &size)
    }
}
