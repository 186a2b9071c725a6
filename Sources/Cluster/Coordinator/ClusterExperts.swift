public import Transformer

/// The experts of the whole cluster: rows go to the workers that own their experts, and come back into their slots.
///
/// Rows whose owner is gone, silent, late or unable are computed by the coordinator's own experts where it has some, so
/// that no fault of a worker changes a byte. Without them such a batch ends in a ``ClusterError``.
///
/// Sendable so that the engine's thread can be given it; only one thread may use it at a time, and whoever hands it over
/// synchronises. That thread owns the data socket and polls it itself.
public final class ClusterExperts: ExpertExecutor, @unchecked Sendable {
    private let format: ExpertRowFormat
    private let local: (any ExpertExecutor)?
    private let board: PlacementBoard
    private let counters: DropCounters
    private let timing: ClusterTiming
    private let socket: ZMQSocket
    private var poller: ZMQPoller
    private let arena = WireArena(capacity: 16_384)
    private let incoming = ZMQMessage(), outgoing = ZMQMessage()

    private var routes: Routes
    private var shares: [WorkerShare]
    private var localShare: [ExpertAssignment] = []
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
        shares = routes.links.map(WorkerShare.init)
    }

    /// Takes up the newest placement, and throws away answers that came too late.
    public func beginStep() throws {
        try local?.beginStep()
        let newest = board.adopt()
        if newest !== routes {
            routes = newest
            // A worker that still owes an answer owes it under the new placement too.
            shares = newest.links.map { link in shares.first { $0.link === link } ?? WorkerShare(link) }
        }
        try receiveAnswers(into: nil)
    }

    /// - Throws: ``ClusterError`` when an owner does not answer and the coordinator has no experts of its own.
    public func run(_ batch: ExpertBatch) throws {
        board.beginRun()
        defer { board.endRun(at: .now) }
        for start in stride(from: 0, to: batch.assignments.count, by: DataMessage.maximumAssignments) {
            let end = min(start + DataMessage.maximumAssignments, batch.assignments.count)
            var part = batch
            part.assignments = UnsafeBufferPointer(rebasing: batch.assignments[start..<end])
            try runPart(part)
        }
    }

    private func runPart(_ batch: ExpertBatch) throws {
        sequence += 1
        // Whatever is still awaited when an error ends this must not be taken for a later answer.
        defer { for share in shares { share.abandon(timing) } }
        try divide(batch)
        for share in shares where !share.assignments.isEmpty {
            if try !send(share, of: batch), local != nil { reclaim(share) }
        }
        try computeLocally(batch)
        try gather(batch)
        try computeLocally(batch)
    }

    private func divide(_ batch: ExpertBatch) throws {
        localShare.removeAll(keepingCapacity: true)
        for share in shares { share.reset(rowCount: batch.rowCount) }
        for assignment in batch.assignments {
            let owner = Int(routes.owners[batch.layer * routes.expertsPerLayer + Int(assignment.expert)])
            if owner >= 0, local == nil || shares[owner].isUsable {
                shares[owner].add(assignment)
            } else if local != nil {
                localShare.append(assignment)
            } else {
                throw ClusterError(
                    "expert \(assignment.expert) of layer \(batch.layer) has no owner, and local experts are off; "
                        + "add a worker, or memory to one")
            }
        }
    }

    private func computeLocally(_ batch: ExpertBatch) throws {
        guard let local, !localShare.isEmpty else { return }
        try localShare.withUnsafeBufferPointer {
            var part = batch
            part.assignments = $0
            try local.run(part)
        }
        localShare.removeAll(keepingCapacity: true)
    }

    private func reclaim(_ share: WorkerShare) {
        localShare += share.assignments
        share.abandon(timing)
        share.assignments.removeAll(keepingCapacity: true)
    }
}

extension ClusterExperts {
    /// Returns false when the worker's data socket is not connected.
    private func send(_ share: WorkerShare, of batch: ExpertBatch) throws -> Bool {
        guard try sendIdentity(share) else { return false }
        let count = share.assignments.count
        let request = ExpertRequest(
            epoch: routes.epoch, sequence: sequence, layer: batch.layer, rows: share.rows.count, assignments: count,
            precision: format.precision)
        _ = try DataMessage.request(request).withEncoded { try socket.send($0, more: true) }

        let pairs = try outgoing.allocate(count * 8).assumingMemoryBound(to: Int32.self)
        for (index, assignment) in share.assignments.enumerated() {
            pairs[index * 2] = share.positions[Int(assignment.row)].littleEndian
            pairs[index * 2 + 1] = assignment.expert.littleEndian
        }
        _ = try socket.send(outgoing, more: true)
        try send(rows: share.rows, of: batch.values, width: format.valueBytes, more: true)
        try send(rows: share.rows, of: batch.scales, width: format.scaleBytes, more: false)
        share.sent(sequence, bytes: count * 8 + share.rows.count * (format.valueBytes + format.scaleBytes))
        return true
    }

    private func sendIdentity(_ share: WorkerShare) throws -> Bool {
        try share.link.id.withUnsafeBytes {
            if try socket.send($0, more: true) == .sent { return true }
            // The socket notices a connection that has just been made only when it looks.
            socket.refresh()
            return try socket.send($0, more: true) == .sent
        }
    }

    private func send(rows: [Int32], of source: UnsafeRawPointer, width: Int, more: Bool) throws {
        let frame = try outgoing.allocate(rows.count * width)
        if width > 0, let start = frame.baseAddress {
            for (index, row) in rows.enumerated() {
                (start + index * width).copyMemory(from: source + Int(row) * width, byteCount: width)
            }
        }
        _ = try socket.send(outgoing, more: more)
    }

    /// Waits until every row has come back, or is known not to.
    private func gather(_ batch: ExpertBatch) throws {
        while shares.contains(where: \.isOutstanding) {
            try receiveAnswers(into: batch)
            for share in shares where share.isOutstanding { try check(share, of: batch) }
            if shares.contains(where: \.isOutstanding) { _ = try poller.wait(milliseconds: 5) }
        }
    }

    /// Gives up on a worker that is not to be waited for.
    private func check(_ share: WorkerShare, of batch: ExpertBatch) throws {
        let isLate = share.isLate(timing)
        if local != nil {
            if isLate || share.hasFailed || share.link.availability != .available {
                share.link.update { $0.failures += 1 }
                reclaim(share)
            }
        } else if isLate || share.hasFailed || share.link.availability == .gone {
            let what = share.hasFailed ? "could not compute" : isLate ? "did not answer in time for" : "is gone with"
            share.link.update { $0.failures += 1 }
            throw ClusterError(
                "worker \(share.link.id) \(what) \(share.assignments.count) rows of layer \(batch.layer), and local "
                    + "experts are off; start the coordinator with local experts, or replace the worker")
        } else if !share.isAwaited {
            _ = try send(share, of: batch)
        }
    }

    /// Takes what has come; not without end, so that a flood of messages does not stop the clock.
    private func receiveAnswers(into batch: ExpertBatch?) throws {
        for _ in 0..<256 { guard try receiveAnswer(into: batch) else { return } }
    }

    /// Takes one answer from the socket; false when there is none. What does not belong to `batch` is dropped.
    private func receiveAnswer(into batch: ExpertBatch?) throws -> Bool {
        guard try socket.receive(incoming) else { return false }
        let id = WorkerID(incoming.bytes)
        do {
            guard let id, let share = shares.first(where: { $0.link.id == id }) else {
                throw WireError(.unknownSender)
            }
            try accept(from: share, into: batch)
        } catch let error as WireError {
            counters.count(error.cause, "from \(id?.description ?? "nobody")")
        }
        try socket.discardRest(incoming)
        return true
    }

    private func accept(from share: WorkerShare, into batch: ExpertBatch?) throws {
        guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
        switch try DataMessage.decode(incoming.bytes, arena: arena) {
        case .request: throw WireError(.unexpectedMessage)
        case .failure(_, let sequence, let reason):
            guard share.fail(sequence) else { throw WireError(.unknownSequence) }
            counters.count(.expertFailure, "from \(share.link.id): \(reason)")
        case .response(let epoch, let sequence, let count):
            guard let batch, share.isAwaiting(sequence) else {
                share.forgive(sequence)
                throw WireError(.unknownSequence)
            }
            guard epoch == routes.epoch else { throw WireError(.staleEpoch) }
            guard count == share.assignments.count else { throw WireError(.outOfBounds) }
            guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
            guard incoming.bytes.count == count * format.outputBytes, let outputs = incoming.bytes.baseAddress else {
                throw WireError(.wrongFrameSize)
            }
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            let width = format.outputBytes
            for (index, assignment) in share.assignments.enumerated() {
                (batch.outputs + Int(assignment.slot) * width)
                    .copyMemory(from: outputs + index * width, byteCount: width)
            }
            share.answered(bytes: count * width)
        }
    }
}
