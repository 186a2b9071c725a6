public import Transformer

/// The experts of the whole cluster: rows go to the workers that own their experts, and come back into their slots.
///
/// Starting a batch sends its rows; finishing it computes the coordinator's own share meanwhile, and gathers. Several
/// batches may be under way: each answer finds its own by the sequence number.
///
/// Rows whose owner is gone, silent, late or unable are computed by the coordinator's own experts where it has some, so
/// that no fault of a worker changes a byte. Without them such a batch ends in a ``ClusterError``.
///
/// Sendable so that the engine's thread can be given it; only one thread may use it at a time, and whoever hands it over
/// synchronises. That thread owns the data socket and polls it itself.
public final class ClusterExperts: ExpertExecutor, @unchecked Sendable {
    let format: ExpertRowFormat
    private let local: (any ExpertExecutor)?
    private let board: PlacementBoard
    let counters: DropCounters
    let timing: ClusterTiming
    let socket: ZMQSocket
    private var poller: ZMQPoller
    let arena = WireArena(capacity: 16_384)
    let incoming = ZMQMessage(), outgoing = ZMQMessage()

    private(set) var routes: Routes
    private(set) var records: [WorkerRecord]
    /// Under way, in the order in which they were started.
    private(set) var flights: [Flight] = []
    /// Of the present placement, to be used again.
    private var idleFlights: [Flight] = []
    private var sequence: UInt64 = 0

    package init(
        format: ExpertRowFormat, local: sending (any ExpertExecutor)?, board: PlacementBoard, counters: DropCounters,
        timing: ClusterTiming, socket: ZMQSocket
    ) {
        self.format = format
        self.local = local
        self.board = board
        self.counters = counters
        self.timing = timing
        self.socket = socket
        poller = ZMQPoller([socket])
        routes = board.adopt()
        records = routes.links.map(WorkerRecord.init)
    }

    /// The epoch, where any worker has experts.
    public var remotePlacement: UInt64? { routes.links.isEmpty ? nil : routes.epoch }

    /// Takes up the newest placement, and throws away answers that came too late.
    public func beginStep() throws {
        abandonAll()
        try local?.beginStep()
        let newest = board.adopt()
        if newest !== routes {
            routes = newest
            // A worker that still owes an answer owes it under the new placement too.
            records = newest.links.map { link in records.first { $0.link === link } ?? WorkerRecord(link) }
            idleFlights = []
        }
        try receiveAnswers()
    }

    /// Sends the rows to the owners of their experts.
    /// - Throws: ``ClusterError`` when an expert has no owner, and the coordinator has no experts of its own.
    public func start(_ batch: ExpertBatch) throws {
        board.beginRun()
        let flight = idleFlights.popLast() ?? Flight(batch, shares: records.map { WorkerShare($0, timing) })
        flight.begin(batch)
        flights.append(flight)
        _ = try abandoningAllOnError { try dispatchPart(of: flight) }
    }

    /// - Throws: ``ClusterError`` when an owner does not answer and the coordinator has no experts of its own.
    public func finish() throws {
        guard let flight = flights.first else { return }
        try abandoningAllOnError {
            repeat {
                try computeLocally(flight)
                try gather(flight)
                try computeLocally(flight)
            } while try dispatchPart(of: flight)
        }
        idleFlights.append(flights.removeFirst())
        if flights.isEmpty { board.endRun(at: .now) }
    }

    /// The memory of batches under way may go away with the error: whatever is still awaited must not be taken for
    /// theirs.
    private func abandoningAllOnError<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch {
            abandonAll()
            throw error
        }
    }

    private func abandonAll() {
        guard !flights.isEmpty else { return }
        for flight in flights { flight.abandon() }
        idleFlights += flights
        flights.removeAll(keepingCapacity: true)
        board.endRun(at: .now)
    }

    /// Sends the next part of a batch; false after the last.
    private func dispatchPart(of flight: Flight) throws -> Bool {
        sequence += 1
        guard flight.nextPart(sequence, timing) else { return false }
        try divide(flight)
        for share in flight.shares where share.isOutstanding {
            if try !send(share, of: flight), local != nil { flight.reclaim(share) }
        }
        return true
    }

    private func divide(_ flight: Flight) throws {
        let layer = flight.part.layer
        for assignment in flight.part.assignments {
            let owner = Int(routes.owners[layer * routes.expertsPerLayer + Int(assignment.expert)])
            if owner >= 0, local == nil || records[owner].isUsable {
                flight.shares[owner].add(assignment)
            } else if local != nil {
                flight.localShare.append(assignment)
            } else {
                throw ClusterError(
                    "expert \(assignment.expert) of layer \(layer) has no owner, and local experts are off; "
                        + "add a worker, or memory to one")
            }
        }
    }

    private func computeLocally(_ flight: Flight) throws {
        guard let local, !flight.localShare.isEmpty else { return }
        try flight.localShare.withUnsafeBufferPointer {
            var part = flight.part
            part.assignments = $0
            try local.run(part)
        }
        flight.localShare.removeAll(keepingCapacity: true)
    }

    /// Waits until every row has come back, or is known not to.
    private func gather(_ flight: Flight) throws {
        while flight.isOutstanding {
            try receiveAnswers()
            for share in flight.shares where share.isOutstanding { try check(share, of: flight) }
            if flight.isOutstanding { _ = try poller.wait(milliseconds: 5) }
        }
    }

    /// Gives up on a worker that is not to be waited for: also when it was just given up on for another batch.
    private func check(_ share: WorkerShare, of flight: Flight) throws {
        let isLate = share.isLate
        if local != nil {
            if isLate || share.hasFailed || !share.record.isUsable {
                share.link.update { $0.failures += 1 }
                flight.reclaim(share)
            }
        } else if isLate || share.hasFailed || share.link.availability == .gone {
            let what = share.hasFailed ? "could not compute" : isLate ? "did not answer in time for" : "is gone with"
            share.link.update { $0.failures += 1 }
            throw ClusterError(
                "worker \(share.link.id) \(what) \(share.assignments.count) rows of layer \(flight.part.layer), and "
                    + "local experts are off; start the coordinator with local experts, or replace the worker")
        } else if !share.isAwaited {
            _ = try send(share, of: flight)
        }
    }
}
