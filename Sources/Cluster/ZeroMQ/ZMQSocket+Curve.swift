import CZeroMQ
import Foundation

extension ZMQSocket {
    /// Admits only peers that know `pair`'s public key, and that an ``Authenticator`` of this context lets in.
    func serve(as pair: KeyPair) throws {
        try set(ZMQ_CURVE_SERVER, 1)
        try set(ZMQ_CURVE_SECRETKEY, pair.privateKey)
        try set(ZMQ_ZAP_DOMAIN, ZAPRequest.domain)
    }

    /// Connects only to whoever has the private half of `server`.
    private func authenticate(as pair: KeyPair, to server: PublicKey) throws {
        try set(ZMQ_CURVE_SERVERKEY, server.description)
        try set(ZMQ_CURVE_PUBLICKEY, pair.publicKey.description)
        try set(ZMQ_CURVE_SECRETKEY, pair.privateKey)
    }

    /// Connects to whoever `protection` says.
    package func protect(_ protection: Protection<WorkerKeys>) throws {
        if let keys = protection.keys { try authenticate(as: keys.own, to: keys.coordinator) }
    }

    /// Receives the questions whom to admit to this context's sockets.
    func bindToAuthenticate() throws {
        guard zmq_bind(handle, "inproc://zeromq.zap.01") == 0 else { throw ZMQError("binding the authenticator") }
    }

    /// Ends the TCP connection that `message` came over; over ipc it stays. libzmq has no call for this, and finds the
    /// connection closed.
    func cutConnection(of message: ZMQMessage) {
        guard let port = try? boundEndpoint().port else { return }
        let descriptor = zmq_msg_get(message.handle, ZMQ_SRCFD)
        guard descriptor >= 0 else { return }
        // The connection may have been closed since, and its descriptor be another file's: only a connection to this
        // port is touched, and a copy of the descriptor cannot become another's in between.
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return }
        if localPort(of: copy) == port { shutdown(copy, Int32(SHUT_RDWR)) }
        close(copy)
    }

    private func localPort(of descriptor: Int32) -> UInt16? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard getsockname(descriptor, address, &size) == 0 else { return nil }
                let family = Int32(address.pointee.sa_family)
                guard family == AF_INET || family == AF_INET6 else { return nil }
                // The port lies at the same place in both.
                return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    UInt16(bigEndian: $0.pointee.sin_port)
                }
            }
        }
    }
}

extension ZMQMessage {
    /// The key of the connection that this frame came over; nil where it has none.
    var senderKey: PublicKey? { zmq_msg_gets(handle, "User-Id").flatMap { PublicKey(String(cString: $0)) } }

    /// Whether the connection that this frame came over is of that key.
    func isFrom(_ key: PublicKey) -> Bool {
        zmq_msg_gets(handle, "User-Id").map { user in key.description.withCString { strcmp(user, $0) == 0 } } ?? false
    }
}
