/// Checks, message by message, that a sender's key is authorised and that its identity is its own. One for each thread
/// that receives.
///
/// libzmq asks for a key when a connection is made, and never again: what a key that was revoked since sends is dropped
/// here, and its connection cut.
struct KeyGate {
    private let admitted: AdmittedKeys?
    /// A connection is cut once: what was received of it before comes here too, when its descriptor may be another's.
    private var cut: Set<WorkerID> = []

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
            if cut.count < 4096, cut.insert(id).inserted { socket.cutConnection(of: message) }
            throw WireError(.unauthorizedKey)
        }
        guard owner == nil || owner == key else { throw WireError(.foreignIdentity) }
        return key
    }
}
