/// Over which connection each worker asks for weights: the newest, for what waits to be sent is bounded for each connection
/// alone. The one before is cut when another is heard, and the newest when its key is revoked, though it be silent.
struct WeightsConnections {
    private struct Newest {
        let number: UInt32
        let key: PublicKey?
        let connection: PeerConnection?
    }

    private let admitted: AdmittedKeys?
    private var newest: [WorkerID: Newest] = [:]
    private var seenChanges = 0

    /// Without `admitted` no key is revoked.
    init(_ admitted: AdmittedKeys?) { self.admitted = admitted }

    func contains(_ peer: WeightsPeer) -> Bool { newest[peer.worker]?.number == peer.connection }

    /// A member has sent a message.
    /// - Throws: ``WireError`` when it has a newer connection.
    mutating func heard(
        _ message: ZMQMessage, from peer: WeightsPeer, key: PublicKey?, on socket: ZMQSocket
    ) throws(WireError) {
        guard !contains(peer) else { return }
        if let old = newest[peer.worker] {
            guard peer.connection > old.number else { throw WireError(.unknownSender) }
            old.connection?.cut()
        }
        if newest.count >= 2 * Membership.maximumMembers { newest = newest.filter { $1.connection?.isOpen == true } }
        newest[peer.worker] = Newest(number: peer.connection, key: key, connection: socket.connection(of: message))
    }

    mutating func cutRevoked() {
        guard let admitted, admitted.changes != seenChanges else { return }
        seenChanges = admitted.changes
        for (id, each) in newest {
            guard let key = each.key, !admitted.contains(key) else { continue }
            newest[id] = nil
            each.connection?.cut()
        }
    }
}
