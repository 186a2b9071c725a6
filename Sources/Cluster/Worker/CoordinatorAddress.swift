/// Where a worker finds a coordinator, and by which keys they know each other.
public struct CoordinatorAddress: Sendable {
    let endpoint: Endpoint
    let protection: Protection<WorkerKeys>

    /// - Parameters:
    ///   - join: the coordinator's endpoint: `tcp://HOST:PORT` or `ipc://PATH`.
    ///   - protection: which decides whether HOST may be other than this machine's loopback.
    /// - Throws: ``ClusterError`` for an endpoint that `protection` does not allow.
    public init(_ join: String, protection: Protection<WorkerKeys> = .thisMachineOnly) throws {
        self.init(
            try Endpoint(join, beyondThisMachine: protection.reachesBeyondThisMachine), protection: protection)
    }

    package init(_ endpoint: Endpoint, protection: Protection<WorkerKeys> = .thisMachineOnly) {
        self.endpoint = endpoint
        self.protection = protection
    }
}
