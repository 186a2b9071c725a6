package import Transformer

/// What becomes of shares.
extension Dispatcher {
    /// The part of the batch that was begun first.
    package var part: ExpertBatch? { flights.first?.part }

    /// What of it the coordinator is to compute.
    package var assignmentsHere: [ExpertAssignment] { flights.first?.here ?? [] }

    /// The coordinator has computed its assignments.
    package mutating func computed() {
        guard !flights.isEmpty else { return }
        flights[0].computedHere()
    }

    /// The batch that a share's rows are of.
    package func batch(of share: Int) -> ExpertBatch? {
        flight(of: share).map { flights[$0].part }
    }

    /// The worker's data socket is not connected.
    package mutating func unreachable(_ share: Int, at now: ContinuousClock.Instant) {
        if canDoWithout(share, at: now) {
            giveUp(share, because: "is not connected", at: now)
        } else {
            shares[share].retryAt = now + .milliseconds(5)
        }
    }

    /// The worker of that identity, as an index into the placement's.
    package func worker(_ id: WorkerID) -> Int? { records.firstIndex { $0.link.id == id } }

    /// The share that a worker's answer is for.
    /// - Parameter end: the assignments of the request up to which it goes; nil: nothing more will come.
    /// - Throws: ``WireError`` where none is waited for under that number.
    package mutating func share(
        awaiting sequence: UInt64, upTo end: Int?, from worker: Int, at now: ContinuousClock.Instant
    ) throws(WireError) -> Int {
        guard
            let share = shares.firstIndex(where: {
                $0.isActive && $0.isSent && $0.sequence == sequence && $0.worker == worker
            })
        else {
            records[worker].settle(sequence, upTo: end, at: now)
            throw WireError(.unknownSequence)
        }
        return share
    }

    /// Calls `body` for each item of a part of a share: where in the part it is, and what was to be computed; nil where that
    /// is not wanted any more.
    package func forEachItem(
        of share: Int, _ part: Range<Int>, _ body: (_ position: Int, _ missing: ExpertAssignment?) -> Void
    ) {
        let flight = flight(of: share)
        for (position, index) in part.enumerated() {
            let assignment = shares[share].items[index].assignment
            if let flight, flights[flight].isMissing(assignment) {
                body(position, flights[flight].assignment(assignment))
            } else {
                body(position, nil)
            }
        }
    }

    /// Calls `body` for what of a part the coordinator is to compute too, before the part is taken.
    package func forEachToVerify(
        of share: Int, _ part: Range<Int>, _ body: (_ position: Int, _ assignment: ExpertAssignment) -> Void
    ) {
        guard sampler.isOn else { return }
        let sequence = shares[share].sequence
        var first = RowSampler.first - records[shares[share].worker].taken
        forEachItem(of: share, part) { position, missing in
            guard let assignment = missing, first > 0 || sampler.draws(assignment.expert, in: sequence) else { return }
            first -= 1
            body(position, assignment)
        }
    }

    /// A part of a share has come back, and what of it was missing is in its slots.
    package mutating func answered(_ share: Int, _ part: Range<Int>, bytes: Int, at now: ContinuousClock.Instant) {
        let worker = shares[share].worker
        shares[share].answered(part, bytes: bytes)
        if shares[share].isAnswered {
            records[worker].answered(shares[share], at: now)
            shares[share].end()
        }
        guard let flight = flight(of: share) else { return }
        for index in part {
            let assignment = shares[share].items[index].assignment
            if flights[flight].isMissing(assignment) { records[worker].taken += 1 }
            flights[flight].done(assignment, by: worker)
        }
    }

    /// A worker has returned what cannot be a result.
    package mutating func refused(_ share: Int, _ part: Range<Int>, at now: ContinuousClock.Instant) {
        let isLast = part.upperBound == shares[share].items.count
        giveUp(share, because: "returned NaN or infinity", isSettled: isLast, at: now)
    }

    /// A worker has returned a wrong row. Nothing that it computed is used, as far as it has not been.
    package mutating func accuse(_ share: Int, of item: WorkerShare.Item, at now: ContinuousClock.Instant) {
        let worker = shares[share].worker
        if let batch = batch(of: share) {
            let expert = batch.assignments[Int(item.assignment)].expert
            records[worker].link.accuse(
                "its result for expert \(expert) of layer \(batch.layer) is not what this coordinator computes: "
                    + "its memory, processor, checkpoint or owner is not to be trusted; revoke its key, if it has one")
        }
        for flight in flights.indices { flights[flight].takeBack(from: worker) }
        for other in shares.indices where shares[other].isActive && shares[other].worker == worker {
            giveUp(other, because: "returned a wrong row", isSettled: other == share, at: now)
        }
    }

    /// The worker says that it cannot compute a share.
    package mutating func failed(_ share: Int, at now: ContinuousClock.Instant) {
        giveUp(share, because: "could not compute \(shares[share].awaited.count) rows", isSettled: true, at: now)
    }

    /// By index, for a copy of a flight takes hold of all its arrays.
    func flight(of share: Int) -> Int? {
        flights.indices.first { flights[$0].number == shares[share].part }
    }

    /// - Parameter isSettled: no answer is owed.
    mutating func end(_ share: Int, isSettled: Bool = false, at now: ContinuousClock.Instant) {
        shares[share].end()
        if shares[share].isSent, !isSettled { records[shares[share].worker].abandoned(shares[share], at: now) }
    }
}
