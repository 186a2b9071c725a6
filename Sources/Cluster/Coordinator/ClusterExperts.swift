import Synchronization
public import Transformer

/// The experts of the whole cluster: rows go to the workers that own their experts, and come back into their slots.
///
/// Starting a batch sends its rows; finishing it computes the coordinator's own share meanwhile, and gathers. Several
/// batches may be under way: each answer finds its own by the sequence number.
///
/// ``Dispatcher`` decides; this owns the socket and performs. No fault of a worker changes a byte. Where an expert can be
/// computed nowhere, such a batch ends in a ``ClusterError``.
///
/// Sendable so that the engine's thread can be given it; only one thread may use it at a time, and whoever hands it over
/// synchronises. That thread owns the data socket and polls it itself.
public final class ClusterExperts: ExpertExecutor, @unchecked Sendable {
    /// Several times what being woken costs: an answer that comes sooner is not kept waiting for that.
    private static let awake = Duration.microseconds(200)

    let format: ExpertRowFormat
    let local: (any ExpertExecutor)?
    private let board: PlacementBoard
    let counters: DropCounters
    let socket: ZMQSocket
    private var poller: ZMQPoller
    /// Rows have been sent, or an answer has come, since the last wait: the next may come at any moment.
    var isExpecting = false
    var gate: KeyGate<WorkerID>
    let verifier: RowVerifier
    let arena = WireArena(capacity: 16_384)
    let incoming = ZMQMessage(), outgoing = ZMQMessage()

    var dispatcher: Dispatcher
    private let ownRows = Atomic(0)
    /// Rows that this process has computed, not counting those that it only verified.
    var rowsComputedHere: Int { ownRows.load(ordering: .relaxed) }

    package init(
        format: ExpertRowFormat, local: sending (any ExpertExecutor)?, board: PlacementBoard, counters: DropCounters,
        timing: ClusterTiming, options: DispatchOptions, socket: ZMQSocket, admitted: AdmittedKeys? = nil
    ) {
        self.format = format
        self.local = local
        self.board = board
        self.counters = counters
        self.socket = socket
        gate = KeyGate(admitted)
        poller = ZMQPoller([socket])
        dispatcher = Dispatcher(
            board.adopt(), timing: timing, hasLocalExperts: local != nil, options: options,
            seed: .random(in: .min ... .max))
        verifier = RowVerifier(format)
    }

    /// The epoch, where any worker has experts.
    public var remotePlacement: UInt64? { dispatcher.routes.links.isEmpty ? nil : dispatcher.routes.epoch }

    /// Takes up the newest placement, and throws away answers that came too late.
    public func beginStep() throws {
        abandonAll()
        try local?.beginStep()
        let newest = board.adopt()
        if newest !== dispatcher.routes { dispatcher.adopt(newest) }
        try receiveAnswers()
    }

    /// Sends the rows to the owners of their experts.
    /// - Throws: ``ClusterError`` when an expert has no owner, and the coordinator has no experts of its own.
    public func start(_ batch: ExpertBatch) throws {
        board.beginRun()
        try abandoningAllOnError {
            board.count(batch.assignments, layer: batch.layer)
            try dispatcher.begin(batch, at: .now)
            while let share = dispatcher.shareToSend(at: .now) { try send(share) }
        }
    }

    /// - Throws: ``ClusterError`` when an expert's holders do not answer, and the coordinator has no experts of its own.
    public func finish() throws {
        guard !dispatcher.isIdle else { return }
        try abandoningAllOnError {
            try receiveAnswers()
            while try perform(dispatcher.next(at: .now)) {}
        }
        if dispatcher.isIdle { board.endRun(at: .now) }
    }

    /// False when the batch is over.
    private func perform(_ step: Dispatcher.Step) throws -> Bool {
        switch step {
        case .send(let share): try send(share)
        case .compute:
            try computeLocally()
            try receiveAnswers()
        case .wait(let milliseconds):
            isExpecting = try poller.wait(milliseconds: milliseconds, awake: isExpecting ? Self.awake : .zero)
            try receiveAnswers()
        case .finished: return false
        }
        return true
    }

    /// The memory of batches under way may go away with the error: whatever is still awaited must not be taken for
    /// theirs.
    private func abandoningAllOnError(_ body: () throws -> Void) throws {
        do { try body() } catch {
            abandonAll()
            throw error
        }
    }

    private func abandonAll() {
        guard !dispatcher.isIdle else { return }
        dispatcher.abandonAll(at: .now)
        board.endRun(at: .now)
    }

    private func computeLocally() throws {
        guard let local, var part = dispatcher.part else { return }
        try dispatcher.assignmentsHere.withUnsafeBufferPointer {
            part.assignments = $0
            try local.run(part)
        }
        ownRows.wrappingAdd(dispatcher.assignmentsHere.count, ordering: .relaxed)
        dispatcher.computed()
    }
}
