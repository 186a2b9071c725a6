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
        /// joining, loading, ready, suspect, draining, or held: left out for a while.
        public let state: String
        /// Why it is held (flapping, stalled or banished), and for how many seconds more; nil for others.
        public let hold: String?, holdSeconds: Int?
        /// How many experts, over all layers, it holds in the placement in force, replicas included.
        public let experts: Int
        /// Which those are: for each layer its experts in ascending order, such as `0-3,7`.
        public let holdings: [String]
        /// Bytes of experts it would hold.
        public let memoryBudget: UInt64
        /// With which it computes.
        public let threads: Int
        /// Its part when experts are shared out, of the members' parts together, 0 to 1; 0 for who holds none.
        public let share: Double
        /// Rows and experts read in a second of computing, an expert read counting as six rows; nil until it is known.
        public let speed: Int?
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
        /// Bytes of the experts that it was last given and has in memory, of those that it is to have.
        public let loadedBytes, wantedBytes: UInt64
        /// Bytes of weights that it had from this coordinator.
        public let weightsReceived: UInt64
    }

    /// An expert of one layer.
    public struct Expert: Sendable, Encodable {
        /// From 0.
        public let layer, expert: Int
        /// Of its layer's rows, 0 to 1, the recent ones counted most.
        public let share: Double
        /// Workers that hold it.
        public let copies: Int
    }

    /// Whose workers are not taken in for a while.
    public struct HoldOff: Sendable, Encodable {
        /// A public key, or without keys a place on a host, such as `host#2`.
        public let owner: String
        /// In a row, each soon after it had joined.
        public let deaths: Int
        /// Whether it was sent away.
        public let banished: Bool
        /// How long it lasts.
        public let seconds: Int
    }

    /// Whether every expert can be computed now.
    public let ready: Bool
    /// Of the placement in force; grows with every new one.
    public let epoch: UInt64
    /// (layer, expert) pairs of the model.
    public let experts: Int
    /// Those of them that no worker owns.
    public let unownedExperts: Int
    /// Copies of experts beyond the first, with all workers together.
    public let replicas: Int
    /// How many workers are to hold each expert, as memory allows: a number, or `auto`.
    public let replication: String
    /// The experts with the largest parts of their layers' rows, at most sixteen; none before there are rows.
    public let hottest: [Expert]
    /// Whether the coordinator computes what no worker does.
    public let localExperts: Bool
    /// Whether it computes a share of every batch beside the workers.
    public let sharesWork: Bool
    /// Rows that it has computed, not counting those that it only verified: one for each assignment of a row to an expert.
    public let rowsComputedHere: Int
    /// How connections are protected: `keys`, `this machine only`, or `insecure`.
    public let protection: String
    /// By name.
    public let workers: [Worker]
    /// The longest first.
    public let holdOffs: [HoldOff]
    /// Messages that were not taken, by ``DropCause``.
    public let dropped: [String: Int]
}

extension ClusterStatus {
    init(
        _ membership: Membership, links: [WorkerID: WorkerLink], localExperts: Bool, sharesWork: Bool,
        isServing: Bool, protection: String, rowsComputedHere: Int, dropped: [DropCause: Int],
        at now: ContinuousClock.Instant
    ) {
        let placement = membership.placement
        ready = isServing
        epoch = placement.epoch
        experts = placement.holders.count
        unownedExperts = placement.unowned
        replicas = placement.counts.reduce(0, +) - placement.holders.count + placement.unowned
        replication = membership.copies.map(String.init) ?? "auto"
        hottest = Self.hottest(of: membership.history, placement)
        self.localExperts = localExperts
        self.protection = protection
        self.sharesWork = sharesWork
        self.rowsComputedHere = rowsComputedHere
        workers = membership.members.sorted { ($0.value.join.name, $0.key) < ($1.value.join.name, $1.key) }
            .map { Worker($0, $1, placement, links[$0], at: now) }
        holdOffs = membership.holdOffs.entries.filter { $1.until > now }
            .map {
                HoldOff(
                    owner: $0, deaths: $1.deaths, banished: $1.isBanished,
                    seconds: now.duration(to: $1.until).wholeSeconds)
            }
            .sorted { ($1.seconds, $0.owner) < ($0.seconds, $1.owner) }
        self.dropped = Dictionary(uniqueKeysWithValues: dropped.map { ($0.key.rawValue, $0.value) })
    }

    private static func hottest(of history: LoadHistory, _ placement: Placement) -> [Expert] {
        let experts = placement.shape.experts
        let all = (0..<placement.shape.layers).flatMap { layer in
            let pairs = layer * experts..<(layer + 1) * experts
            let total = history.rows[pairs].reduce(0, +)
            return pairs.map {
                Expert(
                    layer: layer, expert: $0 - pairs.lowerBound, share: total > 0 ? history.rows[$0] / total : 0,
                    copies: placement.holders[$0].count)
            }
        }
        return Array(
            all.filter { $0.share > 0 }.sorted { ($1.share, $0.layer, $0.expert) < ($0.share, $1.layer, $1.expert) }
                .prefix(16))
    }
}

extension ClusterStatus.Worker {
    fileprivate init(
        _ id: WorkerID, _ member: Membership.Member, _ placement: Placement, _ link: WorkerLink?,
        at now: ContinuousClock.Instant
    ) {
        let traffic = link?.traffic ?? WorkerLink.Traffic()
        let held = placement.experts(of: id)
        // One whose memory holds none has a weight all the same.
        let sharing = placement.candidates.filter { placement.experts(of: $0.id).count > 0 }
        let weights = sharing.reduce(0) { $0 + $1.weight }
        self.init(
            id: id.description, name: member.join.name, key: link?.key?.description,
            state: member.liveness.state.rawValue, hold: member.hold?.rawValue,
            holdSeconds: member.hold == nil ? nil : member.liveness.heldUntil.map { now.duration(to: $0).wholeSeconds },
            experts: held.count, holdings: (0..<placement.shape.layers).map { held.ranges(layer: $0) },
            memoryBudget: member.join.memoryBudget, threads: member.join.threads,
            share: sharing.first { $0.id == id }.map { Double($0.weight) / Double(weights) } ?? 0,
            speed: member.speedometer.speed,
            batches: traffic.batches, rows: traffic.rows, bytesSent: traffic.bytesSent,
            bytesReceived: traffic.bytesReceived, failures: traffic.failures, hedges: traffic.hedges,
            millisecondsPerBatch: traffic.secondsPerBatch * 1000,
            loadedBytes: member.loading?.loaded ?? 0, wantedBytes: member.loading?.wanted ?? 0,
            weightsReceived: member.loading?.received ?? 0)
    }
}
