public import Checkpoints
import Synchronization
public import Transformer

/// The cluster as its coordinator sees it: takes workers in, shares the experts out among them, and hands rows to them.
public final class Coordinator: Sendable {
    /// The experts, for the thread that runs the forward pass.
    public let executor: ClusterExperts
    /// Where workers join, with the port that was chosen.
    public let endpoint: Endpoint
    /// What workers must know this coordinator by; nil without keys.
    public let publicKey: PublicKey?

    private let counters: DropCounters
    private let bulletin: Bulletin
    private let wakeup: Wakeup
    private let stopping: StopFlag
    private let thread: BackgroundThread
    private let authenticator: Authenticator?
    private let protection: String
    private let weightServer: WeightServer?

    /// Binds the sockets and begins to take workers in.
    /// - Parameters:
    ///   - bind: `tcp://HOST:PORT` (port 0 or `*` takes a free one) or `ipc://PATH`.
    ///   - protection: which decides whether HOST may be other than this machine's loopback.
    ///   - localExperts: compute what no worker owns or answers; nil leaves such requests to fail.
    ///   - replicas: how many workers are to hold each expert, as far as their memory goes; nil lets its load decide.
    ///   - options: how requests are guarded against workers that fail them.
    /// - Throws: ``ClusterError`` for an endpoint that `protection` does not allow, or that cannot be bound, and for keys
    ///   that cannot be read; `CheckpointError`.
    public convenience init(
        checkpoint: Checkpoint, precision: Precision, bind: String,
        protection: Protection<CoordinatorKeys> = .thisMachineOnly, localExperts: sending (any ExpertExecutor)?,
        replicas: Int? = nil, options: DispatchOptions = DispatchOptions(), log: Log
    ) throws {
        try self.init(
            model: ModelIdentity(checkpoint), precision: precision,
            bind: Endpoint(bind, beyondThisMachine: protection.reachesBeyondThisMachine), protection: protection,
            localExperts: localExperts, weights: checkpoint, replicas: replicas, timing: ClusterTiming(),
            options: options,
            log: log)
    }

    /// - Parameter weights: where the tensors come from for workers that have no checkpoint; nil refuses them.
    package init(
        model: ModelIdentity, precision: Precision, bind: Endpoint,
        protection: Protection<CoordinatorKeys> = .thisMachineOnly, localExperts: sending (any ExpertExecutor)?,
        weights checkpoint: Checkpoint? = nil, replicas: Int? = 1, timing: ClusterTiming,
        options: DispatchOptions = DispatchOptions(hedging: .never, verifyRate: 0), log: Log
    ) throws {
        protection.warn(log)
        let format = ExpertRowFormat(precision: precision, hiddenSize: model.shape.hiddenSize)
        let hasLocalExperts = localExperts != nil
        let context = try ZMQContext(threads: 2)
        counters = DropCounters(log: log)
        wakeup = try Wakeup()
        let weightsWakeup = try Wakeup()
        authenticator = try protection.keys.map { [counters, wakeup] in
            try Authenticator($0.authorized, in: context, counters: counters, log: log) {
                for wakeup in [wakeup, weightsWakeup] { wakeup.signal() }
            }
        }
        // What was said last, that the workers are to go, should reach them.
        let control = try ZMQSocket(.router, in: context, linger: 500)
        try control.limit(frameBytes: ControlMessage.maximumBytes, queue: 1000)
        let data = try ZMQSocket(.router, in: context)
        try data.limit(frameBytes: DataMessage.maximumAnswerFrame(format), queue: DataMessage.queue)
        let weights = try checkpoint.map { _ in try WeightServer.makeSocket(in: context) }
        if let keys = protection.keys {
            for socket in [control, data, weights] { try socket?.serve(as: keys.own) }
        }
        // Answers may wait until somebody wants the next.
        let answers = Int(DataMessage.queue + 1) * DataMessage.maximumAnswerFrame(format)
        let allowance = UnendingMessages.allowance
        func bound(_ socket: ZMQSocket, _ endpoints: [Endpoint], limit: Int) throws -> UnendingMessages {
            try UnendingMessages(socket, limit: limit) {
                do { try $0.bind(toFirstOf: endpoints) } catch {
                    throw ClusterError("\(error): is another coordinator running there? choose another --bind")
                }
            }
        }
        let watch = try bound(control, [bind], limit: allowance)
        var watches = [try bound(data, bind.candidatesForData, limit: UnendingMessages.bulkAllowance + answers)]
        if let weights { watches.append(try bound(weights, bind.candidatesForWeights, limit: allowance)) }

        endpoint = try control.boundEndpoint()
        self.protection = protection.name
        publicKey = protection.keys?.own.publicKey
        stopping = StopFlag()
        let dataEndpoint = try data.boundEndpoint().description
        let description = try weights.flatMap { socket in
            try checkpoint.map {
                ModelDescription(
                    digest: model.digest, experts: $0.expertConfig,
                    weightsEndpoint: try socket.boundEndpoint().description)
            }
        }
        let membership = Membership(
            model: model, description: description, precision: precision, timing: timing, dataEndpoint: dataEndpoint,
            copies: replicas, localExperts: hasLocalExperts)
        bulletin = Bulletin(
            membership, localExperts: hasLocalExperts, sharesWork: hasLocalExperts && options.sharesWork)
        weightServer = try weights.flatMap { [bulletin, counters, authenticator] socket in
            try checkpoint.map {
                try WeightServer(
                    $0, model: model, socket: socket, members: bulletin, admitted: authenticator?.admitted,
                    wakeup: weightsWakeup, counters: counters, log: log)
            }
        }
        let board = PlacementBoard(Routes(membership.placement, links: []))
        executor = ClusterExperts(
            format: format, local: localExperts, board: board, counters: counters, timing: timing, options: options,
            socket: data, admitted: authenticator?.admitted)
        thread = BackgroundThread("cluster-control") { [wakeup, stopping, bulletin, counters, authenticator, watches] in
            ControlLoop(
                socket: control, watch: watch, others: watches, wakeup: wakeup, membership: membership, board: board,
                bulletin: bulletin, counters: counters, keys: protection.keys, admitted: authenticator?.admitted,
                log: log
            ).run { stopping.isSet }
        }
        if options.verifyRate > 0, !hasLocalExperts {
            log(
                .info,
                "what workers return is not verified: --local-experts none leaves nothing to compare it with")
        }
        log(
            .info, "waiting for workers",
            [("endpoint", endpoint.description), ("data", dataEndpoint)]
                + (description.map { [("weights", $0.weightsEndpoint)] } ?? [])
                + (protection.keys.map { [("key", $0.own.publicKey.description)] } ?? []))
    }

    /// Members, placement, traffic and dropped messages as they are now.
    public var status: ClusterStatus {
        bulletin.status(
            protection: protection, rowsComputedHere: executor.rowsComputedHere, dropped: counters.snapshot)
    }

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
        weightServer?.stop()
        authenticator?.stop()
    }

    deinit { shutdown() }
}
