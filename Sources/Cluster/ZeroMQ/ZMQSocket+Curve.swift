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

    /// The connection that `message` came over; nil where it is closed by now.
    func connection(of message: ZMQMessage) -> PeerConnection? {
        guard let endpoint = try? boundEndpoint() else { return nil }
        return PeerConnection(descriptor: message.descriptor, to: endpoint)
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
