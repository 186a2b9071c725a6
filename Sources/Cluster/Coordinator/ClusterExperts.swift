public import Transformer

/// The experts of the whole cluster: rows go to the workers that own their experts, and come back into their slots.
///
/// Starting a batch sends its rows; finishing it computes the coordinator's own share meanwhile, and gathers. Several
/// batches may be under way: each answer finds its own by the sequence number.
///
/// Rows whose worker is gone, silent, late or unable go to another that holds their expert, or are computed by the
/// coordinator's own experts, so that no fault of a worker changes a byte. Where there is neither, such a batch ends in a
/// ``ClusterError``.
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
    var gate: KeyGate
    let arena = WireArena(capacity: 16_384)
    let incoming = ZMQMessage(), outgoing = ZMQMessage()

    private(set) var routes: Routes
    private(set) var records: [WorkerRecord]
    /// Under way, in the order in which they were started.
    private(set) var flights: [Flight] = []
    /// Of the present placement, to be used again.
    private var idleFlights: [Flight] = []
    private var sequence: UInt64 = 0
    private var balancer = LoadBalancer()

    package init(
        format: ExpertRowFormat, local: sending (any ExpertExecutor)?, board: PlacementBoard, counters: DropCounters,
        timing: ClusterTiming, socket: ZMQSocket, admitted: AdmittedKeys? = nil
    ) {
        self.format = format
        self.local = local
        self.board = board
        self.counters = counters
        self.timing = timing
        self.socket = socket
        gate = KeyGate(admitted)
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

    /// - Throws: ``ClusterError`` when an expert's holders do not answer, and the coordinator has no experts of its own.
    public func finish() throws {
        guard let flight = flights.first else { return }
        try abandoningAllOnError {
            repeat {
                repeat {
                    try computeLocally(flight)
                    try gather(flight)
                } while try dispatchOrphans(of: flight)
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
        try divide(flight.part.assignments, of: flight)
        try sendShares(of: flight)
        return true
    }

    /// Sends to others what a worker did not compute; false when there is nothing.
    private func dispatchOrphans(of flight: Flight) throws -> Bool {
        guard !flight.orphans.isEmpty else { return false }
        sequence += 1
        try flight.retry(sequence) { try divide($0, of: flight) }
        try sendShares(of: flight)
        return true
    }

    private func sendShares(of flight: Flight) throws {
        for share in flight.shares where share.isOutstanding {
            if try !send(share, of: flight), canDoWithout(share, flight) {
                flight.abandon(share, because: "is not connected")
            }
        }
    }

    private func divide(_ assignments: UnsafeBufferPointer<ExpertAssignment>, of flight: Flight) throws {
        balancer.choose(for: assignments, layer: flight.part.layer, routes) { flight.shares[$0].isEligible }
        for assignment in assignments {
            if let worker = balancer.worker(for: assignment.expert) {
                flight.shares[worker].add(assignment)
            } else if local != nil {
                flight.localShare.append(assignment)
            } else {
                flight.shares[try waitingHolder(of: assignment, flight)].add(assignment)
            }
        }
    }

    /// A holder that is silent, but may be heard again: for want of a better one.
    private func waitingHolder(of assignment: ExpertAssignment, _ flight: Flight) throws -> Int {
        let holders = routes.holders(layer: flight.part.layer, expert: Int(assignment.expert))
        let what = "expert \(assignment.expert) of layer \(flight.part.layer)"
        guard !holders.isEmpty else {
            throw ClusterError(
                "\(what) has no owner, and local experts are off; add a worker, or memory to one")
        }
        if flight.misfortune == nil, let holder = holders.first(where: { records[$0].link.availability != .gone }) {
            return holder
        }
        throw ClusterError(
            "\(what) cannot be computed: \(flight.misfortune ?? "its workers are gone"), no other worker has it, and local "
                + "experts are off; add a worker, or start the coordinator with local experts")
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
        if share.hasFailed {
            flight.abandon(share, because: "could not compute \(share.assignments.count) rows")
        } else if share.isLate {
            flight.abandon(share, because: "did not answer in time for \(share.assignments.count) rows")
        } else if share.link.availability == .gone {
            flight.abandon(share, because: "is gone")
        } else if !share.record.isUsable, canDoWithout(share, flight) {
            flight.abandon(share, because: "is silent")
        } else if !share.isAwaited {
            _ = try send(share, of: flight)
        }
    }

    /// Whether somebody else can compute what a worker was given.
    private func canDoWithout(_ share: WorkerShare, _ flight: Flight) -> Bool {
        local != nil
            || share.assignments.allSatisfy {
                routes.holders(layer: flight.part.layer, expert: Int($0.expert)).contains {
                    flight.shares[$0] !== share && flight.shares[$0].isEligible
                }
            }
    }
}
