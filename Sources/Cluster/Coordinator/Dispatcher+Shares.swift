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
    /// - Throws: ``WireError`` where none is waited for under that number.
    package mutating func share(
        awaiting sequence: UInt64, from worker: Int, at now: ContinuousClock.Instant
    ) throws(WireError) -> Int {
        guard
            let share = shares.firstIndex(where: {
                $0.isActive && $0.isSent && $0.sequence == sequence && $0.worker == worker
            })
        else {
            records[worker].settle(sequence, at: now)
            throw WireError(.unknownSequence)
        }
        return share
    }

    /// Whether the output of a share's item is still wanted.
    package func isMissing(_ item: WorkerShare.Item, of share: Int) -> Bool {
        flight(of: share).map { flights[$0].isMissing(item.assignment) } ?? false
    }

    /// A whole share has come back, and what of it was missing is in its slots.
    package mutating func answered(_ share: Int, bytes: Int, at now: ContinuousClock.Instant) {
        records[shares[share].worker].answered(shares[share], bytesReceived: bytes, at: now)
        shares[share].end()
        guard let flight = flight(of: share) else { return }
        for item in shares[share].items { flights[flight].done(item.assignment, by: shares[share].worker) }
    }

    /// Whether the coordinator is to compute a row of an answer too, before the answer is taken.
    /// - Parameter earlier: how many rows of the answer it computes already.
    package func isToVerify(_ item: WorkerShare.Item, of share: Int, earlier: Int) -> Bool {
        guard sampler.isOn, let flight = flight(of: share), flights[flight].isMissing(item.assignment) else {
            return false
        }
        return sampler.draws(flights[flight].assignment(item.assignment).expert, in: shares[share].sequence)
            || !records[shares[share].worker].hasAnswered && earlier < RowSampler.first
    }

    /// A worker has returned what cannot be a result.
    package mutating func refused(_ share: Int, at now: ContinuousClock.Instant) {
        giveUp(share, because: "returned NaN or infinity", isSettled: true, at: now)
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
        giveUp(share, because: "could not compute \(shares[share].items.count) rows", isSettled: true, at: now)
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
