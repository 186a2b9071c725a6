import Transformer

extension ClusterExperts {
    /// Returns false when the worker's data socket is not connected.
    func send(_ share: WorkerShare, of flight: Flight) throws -> Bool {
        guard try sendIdentity(share) else { return false }
        let count = share.assignments.count
        let batch = flight.part
        let request = ExpertRequest(
            epoch: routes.epoch, sequence: flight.sequence, layer: batch.layer, rows: share.rows.count,
            assignments: count, precision: format.precision)
        _ = try DataMessage.request(request).withEncoded { try socket.send($0, more: true) }

        let pairs = try outgoing.allocate(count * 8).assumingMemoryBound(to: Int32.self)
        for (index, assignment) in share.assignments.enumerated() {
            pairs[index * 2] = share.positions[Int(assignment.row)].littleEndian
            pairs[index * 2 + 1] = assignment.expert.littleEndian
        }
        _ = try socket.send(outgoing, more: true)
        try send(rows: share.rows, of: batch.values, width: format.valueBytes, more: true)
        try send(rows: share.rows, of: batch.scales, width: format.scaleBytes, more: false)
        share.sent(
            flight.sequence, bytes: count * 8 + share.rows.count * (format.valueBytes + format.scaleBytes), timing)
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
            let worker = records.firstIndex { $0.link.id == id }
            _ = try gate.check(incoming, from: id, owner: worker.flatMap { records[$0].link.key }, on: socket)
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
            try flight(awaiting: sequence, from: worker).shares[worker].fail()
            counters.count(.expertFailure, "from \(records[worker].link.id): \(reason)")
        case .response(let epoch, let sequence, let count):
            let flight = try flight(awaiting: sequence, from: worker)
            let share = flight.shares[worker]
            guard epoch == routes.epoch else { throw WireError(.staleEpoch) }
            guard count == share.assignments.count else { throw WireError(.outOfBounds) }
            guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
            guard incoming.bytes.count == count * format.outputBytes, let outputs = incoming.bytes.baseAddress else {
                throw WireError(.wrongFrameSize)
            }
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            let width = format.outputBytes
            for (index, assignment) in share.assignments.enumerated() {
                (flight.part.outputs + Int(assignment.slot) * width)
                    .copyMemory(from: outputs + index * width, byteCount: width)
            }
            share.answered(bytes: count * width)
        }
    }

    /// The batch under way that an answer is for.
    private func flight(awaiting sequence: UInt64, from worker: Int) throws(WireError) -> Flight {
        guard let flight = flights.first(where: { $0.shares[worker].isAwaiting(sequence) }) else {
            records[worker].forgive(sequence)
            throw WireError(.unknownSequence)
        }
        return flight
    }
}
