/// Checks, message by message, that a sender's key is authorised and that its identity is its own. One for each thread
/// that receives.
///
/// libzmq asks for a key when a connection is made, and never again: what a key that was revoked since sends is dropped
/// here, and the connection of who goes on talking is cut.
struct KeyGate {
    private let admitted: AdmittedKeys?
    /// Whose messages are dropped since when; nil: the connection is cut. It is cut once: what was received of it before
    /// comes here too, when its descriptor may be another's.
    private var refused: [WorkerID: ContinuousClock.Instant?] = [:]
    /// Where those were last heard whose connections are not to wait for another message.
    private var heard: [WorkerID: (key: PublicKey, connection: PeerConnection)] = [:]
    private var seenChanges = 0

    /// Without `admitted` everyone passes.
    init(_ admitted: AdmittedKeys?) { self.admitted = admitted }

    /// Returns whose connection the message came over; nil without keys.
    /// - Parameters:
    ///   - message: a frame behind the identity; the identity's own does not know where it came from.
    ///   - owner: whose identity `id` is, if that is known.
    mutating func check(
        _ message: ZMQMessage, from id: WorkerID, owner: PublicKey?, on socket: ZMQSocket
    ) throws(WireError) -> PublicKey? {
        guard let admitted else { return nil }
        let key: PublicKey? = if let owner, message.isFrom(owner) { owner } else { message.senderKey }
        guard let key, admitted.contains(key) else {
            if isToCut(id) { socket.connection(of: message)?.cut() }
            throw WireError(.unauthorizedKey)
        }
        guard owner == nil || owner == key else { throw WireError(.foreignIdentity) }
        return key
    }

    /// A message has passed, and what is sent in return would go on for a while.
    mutating func remember(_ message: ZMQMessage, from id: WorkerID, key: PublicKey?, on socket: ZMQSocket) {
        guard let key, let connection = socket.connection(of: message) else { return }
        if heard.count >= 2 * Membership.maximumMembers { heard = heard.filter(\.value.connection.isOpen) }
        heard[id] = (key, connection)
    }

    /// Cuts the remembered connections of keys that were revoked.
    mutating func cutRevoked() {
        guard let admitted, admitted.changes != seenChanges else { return }
        seenChanges = admitted.changes
        for (id, (key, connection)) in heard where !admitted.contains(key) {
            heard[id] = nil
            refused[id] = .some(nil)
            connection.cut()
        }
    }

    /// Whether something may be sent to whoever has this key.
    func admits(_ key: PublicKey?) -> Bool { key.map { admitted?.contains($0) ?? true } ?? (admitted == nil) }

    private mutating func isToCut(_ id: WorkerID) -> Bool {
        guard let begin = refused[id] else {
            if refused.count < 4096 { refused[id] = ContinuousClock.now }
            return false
        }
        guard let begin, begin.duration(to: .now) >= Self.farewell else { return false }
        refused[id] = .some(nil)
        return true
    }

    /// A worker is told why it has to go, and then goes by itself: cut off at once, it could not know.
    private static let farewell = Duration.seconds(1)
}
