import Transformer

extension ClusterExperts {
    func send(_ index: Int) throws {
        let share = dispatcher.shares[index]
        guard let batch = dispatcher.batch(of: index), try sendIdentity(dispatcher.routes.links[share.worker].id) else {
            return dispatcher.unreachable(index, at: .now)
        }
        let count = share.items.count
        let request = ExpertRequest(
            epoch: dispatcher.routes.epoch, sequence: share.sequence, layer: batch.layer, rows: share.rows.count,
            assignments: count, precision: format.precision)
        _ = try DataMessage.request(request).withEncoded { try socket.send($0, more: true) }

        let pairs = try outgoing.allocate(count * 8).assumingMemoryBound(to: Int32.self)
        for (index, item) in share.items.enumerated() {
            pairs[index * 2] = item.position.littleEndian
            pairs[index * 2 + 1] = batch.assignments[Int(item.assignment)].expert.littleEndian
        }
        _ = try socket.send(outgoing, more: true)
        try send(rows: share.rows, of: batch.values, width: format.valueBytes, more: true)
        try send(rows: share.rows, of: batch.scales, width: format.scaleBytes, more: false)
        isExpecting = true
        dispatcher.sent(
            index, bytes: count * 8 + share.rows.count * (format.valueBytes + format.scaleBytes), at: .now)
    }

    private func sendIdentity(_ id: WorkerID) throws -> Bool {
        try id.withUnsafeBytes {
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

    /// Takes what has come; not without end, so that a flood of messages does not stop the clock.
    func receiveAnswers() throws {
        for _ in 0..<256 { guard try receiveAnswer() else { return } }
    }

    /// Takes one answer from the socket; false when there is none. What belongs to no batch under way is dropped.
    private func receiveAnswer() throws -> Bool {
        guard try socket.receive(incoming) else { return false }
        let id = WorkerID(incoming.bytes)
        do {
            guard let id else { throw WireError(.unknownSender) }
            guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
            let worker = dispatcher.worker(id)
            let owner = worker.flatMap { dispatcher.routes.links[$0].key }
            _ = try gate.check(incoming, from: id, owner: owner, on: socket)
            guard let worker else { throw WireError(.unknownSender) }
            try accept(from: worker)
        } catch let error as WireError {
            counters.count(error.cause, "from \(id?.description ?? "nobody")")
        }
        try socket.discardRest(incoming)
        return true
    }

    /// Takes the message of which the header has been received.
    private func accept(from worker: Int) throws {
        switch try DataMessage.decode(incoming.bytes, arena: arena) {
        case .request: throw WireError(.unexpectedMessage)
        case .failure(_, let sequence, let reason):
            let share = try dispatcher.share(awaiting: sequence, upTo: nil, from: worker, at: .now)
            dispatcher.failed(share, at: .now)
            counters.count(.expertFailure, "from \(dispatcher.routes.links[worker].id): \(reason)")
        case .response(let epoch, let sequence, let first, let count):
            let share = try dispatcher.share(awaiting: sequence, upTo: first + count, from: worker, at: .now)
            guard epoch == dispatcher.shares[share].epoch else { throw WireError(.staleEpoch) }
            guard let part = dispatcher.shares[share].part(first: first, count: count) else {
                throw WireError(.outOfBounds)
            }
            guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
            guard incoming.bytes.count == count * format.outputBytes, let outputs = incoming.bytes.baseAddress else {
                throw WireError(.wrongFrameSize)
            }
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            guard take(outputs, of: share, part) else {
                dispatcher.refused(share, part, at: .now)
                throw WireError(.nonFiniteResult)
            }
            if let wrong = try wrongItem(in: outputs, of: share, part) {
                dispatcher.accuse(share, of: wrong, at: .now)
                throw WireError(.wrongResult)
            }
            dispatcher.answered(share, part, bytes: incoming.bytes.count, at: .now)
        }
    }

    /// Computes some of the rows here too. Returns the first that differs.
    private func wrongItem(
        in outputs: UnsafeRawPointer, of share: Int, _ part: Range<Int>
    ) throws -> WorkerShare.Item? {
        guard let local, let batch = dispatcher.batch(of: share) else { return nil }
        verifier.begin()
        dispatcher.forEachToVerify(of: share, part) { verifier.add($1, at: $0) }
        return try verifier.firstWrong(in: outputs, of: batch, local).map {
            dispatcher.shares[share].items[part.lowerBound + $0]
        }
    }

    /// Copies the rows that are missing into their slots, each while it is in the cache for having been looked at. Counts for
    /// nothing before the part is answered: what must not be used is computed again, and overwritten.
    /// - Returns: whether there is neither NaN nor infinity in any row, also of those that are not missing.
    private func take(_ outputs: UnsafeRawPointer, of share: Int, _ part: Range<Int>) -> Bool {
        let batch = dispatcher.batch(of: share)
        let width = format.outputBytes
        var isFinite = true
        dispatcher.forEachItem(of: share, part) { position, missing in
            let row = outputs + position * width
            isFinite = isFinite && verifier.isFinite(UnsafeRawBufferPointer(start: row, count: width))
            if isFinite, let batch, let missing {
                (batch.outputs + Int(missing.slot) * width).copyMemory(from: row, byteCount: width)
            }
        }
        return isFinite
    }
}
