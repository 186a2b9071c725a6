public import Checkpoints
import Synchronization
public import Transformer

/// The cluster as its coordinator sees it: takes workers in, shares the experts out among them, and hands rows to them.
public final class Coordinator: Sendable {
    /// The experts, for the thread that runs the forward pass.
    public let executor: ClusterExperts
    /// Where workers join, with the port that was chosen.
    public let endpoint: Endpoint

    private let counters: DropCounters
    private let bulletin: Bulletin
    private let wakeup: Wakeup
    private let stopping: StopFlag
    private let thread: BackgroundThread

    /// Binds the sockets and begins to take workers in.
    /// - Parameters:
    ///   - bind: `tcp://127.0.0.1:PORT` (port 0 or `*` takes a free one) or `ipc://PATH`.
    ///   - localExperts: compute what no worker owns or answers; nil leaves such requests to fail.
    ///   - replicas: how many workers are to hold each expert, as far as their memory goes.
    /// - Throws: ``ClusterError`` for an endpoint that is not this machine's, or cannot be bound; `CheckpointError`.
    public convenience init(
        checkpoint: Checkpoint, precision: Precision, bind: String, localExperts: sending (any ExpertExecutor)?,
        replicas: Int = 2, log: Log
    ) throws {
        try self.init(
            model: ModelIdentity(checkpoint), precision: precision, bind: Endpoint(bind), localExperts: localExperts,
            replicas: replicas, timing: ClusterTiming(), log: log)
    }

    package init(
        model: ModelIdentity, precision: Precision, bind: Endpoint, localExperts: sending (any ExpertExecutor)?,
        replicas: Int = 1, timing: ClusterTiming, log: Log
    ) throws {
        let format = ExpertRowFormat(precision: precision, hiddenSize: model.shape.hiddenSize)
        let hasLocalExperts = localExperts != nil
        let context = try ZMQContext()
        // What was said last, that the workers are to go, should reach them.
        let control = try ZMQSocket(.router, in: context, linger: 500)
        try control.limit(frameBytes: ControlMessage.maximumBytes, queue: 1000)
        let data = try ZMQSocket(.router, in: context)
        try data.limit(frameBytes: DataMessage.maximumFrameBytes(format), queue: 8)
        do {
            try control.bind(bind)
            try data.bind(toFirstOf: bind.candidatesForData)
        } catch {
            throw ClusterError("\(error): is another coordinator running there? choose another --bind")
        }

        endpoint = try control.boundEndpoint()
        counters = DropCounters(log: log)
        wakeup = try Wakeup()
        stopping = StopFlag()
        let dataEndpoint = try data.boundEndpoint().description
        let membership = Membership(
            model: model, precision: precision, timing: timing, dataEndpoint: dataEndpoint, copies: replicas)
        bulletin = Bulletin(membership, localExperts: hasLocalExperts)
        let board = PlacementBoard(Routes(membership.placement, links: []))
        executor = ClusterExperts(
            format: format, local: localExperts, board: board, counters: counters, timing: timing, socket: data)
        thread = BackgroundThread("cluster-control") { [wakeup, stopping, bulletin, counters] in
            do {
                let loop = try ControlLoop(
                    socket: control, wakeup: wakeup, membership: membership, board: board, bulletin: bulletin,
                    counters: counters, log: log)
                loop.run { stopping.isSet }
            } catch {
                log(.error, "the control thread could not start", [("error", "\(error)")])
                bulletin.update(membership, links: [:], hasEnded: true)
            }
        }
        log(.info, "waiting for workers", [("endpoint", endpoint.description), ("data", dataEndpoint)])
    }

    /// Members, placement, traffic and dropped messages as they are now.
    public var status: ClusterStatus { bulletin.status(dropped: counters.snapshot) }

    /// Whether every expert can be computed now.
    public var isReady: Bool { bulletin.isReady(workers: 0) }

    /// Returns when every expert can be computed, and at least `workers` workers take part in it.
    /// - Throws: ``ClusterError`` when the coordinator is shut down first, `CancellationError`.
    public func waitUntilReady(workers: Int = 0) async throws { try await bulletin.waitUntilReady(workers: workers) }

    /// Sends the workers away (they will try to join again) and returns when the control thread has ended. The executor
    /// works on with local experts alone.
    public func shutdown() {
        stopping.set()
        wakeup.signal()
        thread.join()
    }

    deinit { shutdown() }
}
