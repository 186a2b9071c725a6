/// How the cluster's connections are protected.
public enum Protection<Keys: Sendable>: Sendable {
    /// Not at all, so only this machine's addresses are taken.
    case thisMachineOnly
    /// Not at all, and any address is taken: whoever reaches a port can read prompts and forge answers.
    case insecure
    /// CURVE: encrypted, and both sides known by their keys. Any address is taken.
    case keys(Keys)

    var reachesBeyondThisMachine: Bool { if case .thisMachineOnly = self { false } else { true } }

    var keys: Keys? { if case .keys(let keys) = self { keys } else { nil } }

    /// For people and for `GET /cluster`.
    var name: String {
        switch self {
        case .thisMachineOnly: "this machine only"
        case .insecure: "insecure"
        case .keys: "keys"
        }
    }

    func warn(_ log: Log) {
        guard case .insecure = self else { return }
        log(
            .warning,
            "INSECURE: the cluster's messages are neither encrypted nor authenticated; whoever reaches its ports can read "
                + "prompts and forge answers. `shoal keygen` and --key put an end to that")
    }
}

/// What a coordinator needs in order to take in none but those it knows.
public struct CoordinatorKeys: Sendable {
    let own: KeyPair
    let authorized: AuthorizedKeysPath

    /// `authorized`: who may join.
    public init(own: KeyPair, authorized: AuthorizedKeysPath) {
        self.own = own
        self.authorized = authorized
    }
}

/// What a worker needs in order to serve none but its coordinator.
public struct WorkerKeys: Sendable {
    let own: KeyPair
    let coordinator: PublicKey

    /// `coordinator`: whoever answers without the private half of this key is not talked to.
    public init(own: KeyPair, coordinator: PublicKey) {
        self.own = own
        self.coordinator = coordinator
    }
}
