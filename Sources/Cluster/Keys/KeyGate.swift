/// Checks, message by message, that a sender's key is authorised and that its identity is its own. One for each thread
/// that receives.
///
/// libzmq asks for a key when a connection is made, and never again: what a key that was revoked since sends is dropped
/// here, and the connection of who goes on talking is cut.
struct KeyGate<Sender: Hashable> {
    private let admitted: AdmittedKeys?
    /// Whose messages are dropped since when; nil: the connection is cut. It is cut once: what was received of it before
    /// comes here too, when its descriptor may be another's.
    private var refused: [Sender: ContinuousClock.Instant?] = [:]

    /// Without `admitted` everyone passes.
    init(_ admitted: AdmittedKeys?) { self.admitted = admitted }

    /// Returns whose connection the message came over; nil without keys.
    /// - Parameters:
    ///   - message: a frame behind the identity; the identity's own does not know where it came from.
    ///   - sender: as the socket knows it.
    ///   - owner: whose identity that is, if that is known.
    mutating func check(
        _ message: ZMQMessage, from sender: Sender, owner: PublicKey?, on socket: ZMQSocket
    ) throws(WireError) -> PublicKey? {
        guard let admitted else { return nil }
        let key: PublicKey? = if let owner, message.isFrom(owner) { owner } else { message.senderKey }
        guard let key, admitted.contains(key) else {
            if isToCut(sender) { socket.connection(of: message)?.cut() }
            throw WireError(.unauthorizedKey)
        }
        guard owner == nil || owner == key else { throw WireError(.foreignIdentity) }
        if !refused.isEmpty { refused[sender] = nil }
        return key
    }

    /// Whether something may be sent to whoever has this key.
    func admits(_ key: PublicKey?) -> Bool { key.map { admitted?.contains($0) ?? true } ?? (admitted == nil) }

    private mutating func isToCut(_ sender: Sender) -> Bool {
        guard let begin = refused[sender] else {
            if refused.count < 4096 { refused[sender] = ContinuousClock.now }
            return false
        }
        guard let begin, begin.duration(to: .now) >= farewell else { return false }
        refused[sender] = .some(nil)
        return true
    }

    /// A worker is told why it has to go, and then goes by itself: cut off at once, it could not know.
    private let farewell = Duration.seconds(1)
}
