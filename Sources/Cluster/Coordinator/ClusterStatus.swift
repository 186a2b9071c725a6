/// What the cluster looks like at one moment.
public struct ClusterStatus: Sendable, Encodable {
    /// One member.
    public struct Worker: Sendable, Encodable {
        /// The session's identity: a worker that joins again has a new one.
        public let id: String
        /// Host and process.
        public let name: String
        /// The public key that it joined with; nil without keys, and until it owns experts.
        public let key: String?
        /// joining, loading, ready, suspect or draining.
        public let state: String
        /// How many experts, over all layers, it holds in the placement in force, replicas included.
        public let experts: Int
        /// Bytes of experts it would hold.
        public let memoryBudget: UInt64
        /// With which it computes; its weight when experts are shared out.
        public let threads: Int
        /// Requests answered.
        public let batches: Int
        /// Rows computed: one for each assignment of a row to an expert.
        public let rows: Int
        /// Of tensors, from the coordinator.
        public let bytesSent: Int
        /// Of tensors, to the coordinator.
        public let bytesReceived: Int
        /// Batches that it did not answer, or not in time.
        public let failures: Int
        /// Batches with which it was so late that others were asked as well.
        public let hedges: Int
        /// From the last byte sent to the whole answer, a moving average.
        public let millisecondsPerBatch: Double
        /// Bytes of the experts that it was last given and has in memory, of those that it is to have; 0 of 0 for a
        /// worker that reads them from its own checkpoint.
        public let loadedBytes, wantedBytes: UInt64
        /// Bytes of weights that it had from this coordinator.
        public let weightsReceived: UInt64
    }

    /// Whether every expert can be computed now.
    public let ready: Bool
    /// Of the placement in force; grows with every new one.
    public let epoch: UInt64
    /// (layer, expert) pairs of the model.
    public let experts: Int
    /// Those of them that no worker owns.
    public let unownedExperts: Int
    /// Whether the coordinator computes what no worker does.
    public let localExperts: Bool
    /// How connections are protected: `keys`, `this machine only`, or `insecure`.
    public let protection: String
    /// By name.
    public let workers: [Worker]
    /// Messages that were not taken, by ``DropCause``.
    public let dropped: [String: Int]
}

extension ClusterStatus {
    init(
        _ membership: Membership, links: [WorkerID: WorkerLink], localExperts: Bool, isServing: Bool,
        protection: String, dropped: [DropCause: Int]
    ) {
        let placement = membership.placement
        let counts = Dictionary(uniqueKeysWithValues: zip(placement.workers, placement.counts))
        ready = isServing
        epoch = placement.epoch
        experts = placement.holders.count
        unownedExperts = placement.unowned
        self.localExperts = localExperts
        self.protection = protection
        workers = membership.members.sorted { ($0.value.join.name, $0.key) < ($1.value.join.name, $1.key) }
            .map { id, member in
                let traffic = links[id]?.traffic ?? WorkerLink.Traffic()
                return Worker(
                    id: id.description, name: member.join.name, key: links[id]?.key?.description,
                    state: member.liveness.state.rawValue,
                    experts: counts[id] ?? 0, memoryBudget: member.join.memoryBudget, threads: member.join.threads,
                    batches: traffic.batches, rows: traffic.rows, bytesSent: traffic.bytesSent,
                    bytesReceived: traffic.bytesReceived, failures: traffic.failures, hedges: traffic.hedges,
                    millisecondsPerBatch: traffic.secondsPerBatch * 1000,
                    loadedBytes: member.loading?.loaded ?? 0, wantedBytes: member.loading?.wanted ?? 0,
                    weightsReceived: member.loading?.received ?? 0)
            }
        self.dropped = Dictionary(uniqueKeysWithValues: dropped.map { ($0.key.rawValue, $0.value) })
    }
}
