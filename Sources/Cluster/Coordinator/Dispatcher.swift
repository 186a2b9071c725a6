package import Transformer

/// Decides who computes which rows of the batches under way, and what becomes of those that do not come back. It has no
/// socket and no clock: ``ClusterExperts`` performs the steps that it names, and tells it what happened and when.
///
/// Rows whose worker is gone, silent, late or unable go to another that holds their expert, or to the coordinator's own
/// experts. Where there is neither, the batch ends in a ``ClusterError``. With ``DispatchOptions/sharesWork`` the
/// coordinator's experts have a share in every batch.
package struct Dispatcher {
    /// What is to be done next for the batch that was begun first.
    package enum Step {
        /// Send this share, and say ``sent(_:bytes:at:)`` or ``unreachable(_:at:)``.
        case send(share: Int)
        /// Compute ``assignmentsHere`` of ``part``, and say ``computed()``.
        case compute
        /// Nothing, until answers have come or this much time has passed.
        case wait(milliseconds: Int)
        /// Every row has its output. The batch is over.
        case finished
    }

    let timing: ClusterTiming
    let hasLocalExperts: Bool
    let options: DispatchOptions
    var budget = HedgeBudget()
    let sampler: RowSampler
    package private(set) var routes: Routes
    var records: [WorkerRecord]
    /// Under way, in the order in which they were begun.
    var flights: [Flight] = []
    private var idleFlights: [Flight] = []
    /// Under way, and free ones among them.
    package internal(set) var shares: [WorkerShare] = []
    private var lastPart: UInt64 = 0
    private var lastSequence: UInt64 = 0
    private var balancer = LoadBalancer()
    private var ownShare = OwnShare()
    private var sharesWork: Bool { options.sharesWork && hasLocalExperts }
    /// By worker: whether it may be asked now.
    private var eligible: [Bool] = []
    /// By worker: the share that is being made up for it.
    private var forming: [Int?] = []

    /// When lateness was judged last, and until when it is not.
    var lookedAt: ContinuousClock.Instant?
    var catchingUpUntil: ContinuousClock.Instant?

    /// - Parameter seed: of the draw of rows to verify.
    package init(
        _ routes: Routes, timing: ClusterTiming, hasLocalExperts: Bool, options: DispatchOptions, seed: UInt64
    ) {
        self.routes = routes
        self.timing = timing
        self.hasLocalExperts = hasLocalExperts
        self.options = options
        sampler = RowSampler(rate: hasLocalExperts ? options.verifyRate : 0, seed: seed)
        records = routes.links.map(WorkerRecord.init)
    }

    package var isIdle: Bool { flights.isEmpty }

    /// From now on this placement holds. No batch is under way.
    package mutating func adopt(_ newest: Routes) {
        let previous = records
        routes = newest
        ownShare = OwnShare()
        // A worker that still owes an answer owes it under the new placement too.
        records = newest.links.map { link in records.first { $0.link === link } ?? WorkerRecord(link) }
        for index in shares.indices where shares[index].isActive {
            if let worker = self.worker(previous[shares[index].worker].link.id) {
                shares[index].worker = worker
            } else {
                shares[index].end()
            }
        }
    }

    /// Forgets the batches under way: their memory may go away, so nothing that still comes may be taken for theirs.
    package mutating func abandonAll(at now: ContinuousClock.Instant) {
        for index in shares.indices where shares[index].isActive { end(index, at: now) }
        idleFlights += flights
        flights.removeAll(keepingCapacity: true)
    }

    /// Begins a batch, of which the shares of its first part are then to be sent.
    /// - Throws: ``ClusterError`` when an expert has no owner, and the coordinator has no experts of its own.
    package mutating func begin(_ batch: ExpertBatch, at now: ContinuousClock.Instant) throws {
        flights.append(idleFlights.popLast() ?? Flight(batch))
        flights[flights.count - 1].begin(batch)
        _ = try beginPart(of: flights.count - 1, at: now)
    }

    private mutating func beginPart(of flight: Int, at now: ContinuousClock.Instant) throws -> Bool {
        lastPart += 1
        let isBesideAnother = flights.count > 1
        guard
            flights[flight].nextPart(lastPart, workers: records.count, isBesideAnother: isBesideAnother, at: now)
        else { return false }
        try divide(flight, at: now)
        return true
    }

    /// What to do for the first batch.
    /// - Throws: ``ClusterError`` when an expert's holders do not answer, and the coordinator has no experts of its own.
    package mutating func next(at now: ContinuousClock.Instant) throws -> Step {
        guard !flights.isEmpty else { return .finished }
        while true {
            if let share = shareToSend(at: now) { return .send(share: share) }
            if !flights[0].here.isEmpty { return .compute }
            if flights[0].missing > 0 {
                giveUpOnHopeless(at: now)
                if !flights[0].undecided.isEmpty {
                    try divide(0, at: now)
                    continue
                }
                flights[0].hasWaited = true
                if try !hedge(at: now), !flights[0].takeSpare() {
                    return .wait(milliseconds: millisecondsToWait(at: now))
                }
            } else {
                if sharesWork, !routes.links.isEmpty {
                    ownShare.learn(
                        flights[0].hasWaited ? .first : .last, flights[0].kind, seconds: flights[0].seconds(at: now))
                }
                guard try !beginPart(of: 0, at: now) else { continue }
                idleFlights.append(flights.removeFirst())
                return .finished
            }
        }
    }

    /// The next share to be sent, of any batch.
    package func shareToSend(at now: ContinuousClock.Instant) -> Int? {
        shares.firstIndex { $0.isActive && !$0.isSent && $0.retryAt.map { now >= $0 } ?? true }
    }

    /// Shares out what is undecided.
    /// - Parameter isHedge: it has been asked for before.
    mutating func divide(_ flight: Int, isHedge: Bool = false, at now: ContinuousClock.Instant) throws {
        let part = flights[flight].part
        eligible.removeAll(keepingCapacity: true)
        for worker in records.indices { eligible.append(isEligible(worker, for: flight, at: now)) }
        let isEligible = eligible
        balancer.choose(
            for: flights[flight].undecided, of: part.assignments, layer: part.layer, routes,
            own: sharesWork && !isHedge ? ownShare.weight(flights[flight].kind) : 0
        ) { isEligible[$0] }
        forming.reset(to: nil, count: records.count)
        // Expert by expert, so that a part of an answer needs no expert that another part needs too.
        for position in balancer.indices.indices {
            let index = balancer.indices[position]
            let assignment = part.assignments[Int(index)]
            if let worker = balancer.worker(for: assignment.expert) {
                add(index, to: worker, flight, isHedge, at: now)
            } else if !hasLocalExperts {
                add(index, to: try waitingHolder(of: assignment, flight), flight, isHedge, at: now)
            } else if isHedge {
                flights[flight].computeHereIfLate(index)
            } else {
                flights[flight].computeHere(index)
            }
        }
        flights[flight].decided()
    }

    private mutating func add(
        _ index: Int32, to worker: Int, _ flight: Int, _ isHedge: Bool, at now: ContinuousClock.Instant
    ) {
        let share = forming[worker] ?? beginShare(for: worker, flight, isHedge, at: now)
        forming[worker] = share
        flights[flight].ask(index)
        shares[share].add(index, row: flights[flight].assignment(index).row)
    }

    private mutating func beginShare(
        for worker: Int, _ flight: Int, _ isHedge: Bool, at now: ContinuousClock.Instant
    ) -> Int {
        lastSequence += 1
        if !shares.contains(where: { !$0.isActive }) { shares.append(WorkerShare()) }
        let free = shares.firstIndex { !$0.isActive } ?? 0
        shares[free].begin(
            lastSequence, epoch: routes.epoch, part: flights[flight].number, rowCount: flights[flight].part.rowCount,
            worker: worker, isHedge: isHedge, at: now, patience: timing.batchDeadline.lowerBound)
        return free
    }

    /// Whether to ask a worker for rows of a batch.
    func isEligible(_ worker: Int, for flight: Int, at now: ContinuousClock.Instant) -> Bool {
        !flights[flight].isExcluded[worker] && records[worker].isUsable(at: now)
    }

    /// A holder that is silent, but may be heard again: for want of a better one.
    private func waitingHolder(of assignment: ExpertAssignment, _ flight: Int) throws -> Int {
        let holders = routes.holders(layer: flights[flight].part.layer, expert: Int(assignment.expert))
        let what = "expert \(assignment.expert) of layer \(flights[flight].part.layer)"
        guard !holders.isEmpty else {
            throw ClusterError(
                "\(what) has no owner, and the coordinator computes none (--local-experts none); add a worker, or memory "
                    + "to one")
        }
        if let holder = holders.first(where: { !flights[flight].isExcluded[$0] && !records[$0].isGone }) {
            return holder
        }
        throw ClusterError(
            "\(what) cannot be computed: \(flights[flight].misfortune ?? "its workers are gone"), no other worker has "
                + "it, and the coordinator computes none (--local-experts none); add a worker")
    }
}
