import Transformer

/// The requests on one coordinator's data socket: checks them, and sends the answers. What it needs is kept from request
/// to request.
final class RequestHandler {
    /// Whom the thread that computes serves by this.
    let client: ExpertClient
    let experts: any ExpertExecutor
    private let shape: ModelShape
    private let arena = WireArena(capacity: 16_384)
    private let incoming = ZMQMessage(), outgoing = ZMQMessage()
    /// Received, checked and not answered yet.
    private(set) var request: ExpertRequest?
    private var values = AlignedBytes(), scales = AlignedBytes()
    /// Of the request; rows count from 0.
    private(set) var assignments: [ExpertAssignment] = []

    init(_ client: ExpertClient, _ experts: any ExpertExecutor) {
        self.client = client
        self.experts = experts
        shape = client.share.supply.stock.model.shape
    }

    var format: ExpertRowFormat { client.format }
    /// [request.rows][format.valueBytes].
    var valuesStart: UnsafeRawPointer { UnsafeRawPointer(values.start) }
    /// [request.rows][format.scaleBytes].
    var scalesStart: UnsafeRawPointer { UnsafeRawPointer(scales.start) }

    /// Takes one message; false when there is none. ``request`` is what it asked for, if that was right.
    func receive() throws -> Bool {
        guard try client.socket.receive(incoming) else { return false }
        do {
            let (request, owned) = try receiveRequest()
            if assignments.allSatisfy({ owned.contains(layer: request.layer, expert: Int($0.expert)) }) {
                self.request = request
            } else {
                try fail(request, "an expert of layer \(request.layer) is not this worker's")
            }
        } catch let error as WireError {
            client.counters.count(error.cause, "from the coordinator")
        }
        try client.socket.discardRest(incoming)
        return true
    }

    /// Computes the request by itself. While a part of a large one is computed, the part before it travels.
    func answer() throws {
        try answer { request, part, outputs in
            for (slot, index) in part.enumerated() { assignments[index].slot = Int32(slot) }
            try experts.beginStep()
            try assignments.withUnsafeBufferPointer {
                try experts.run(
                    ExpertBatch(
                        layer: request.layer, rowCount: request.rows, values: valuesStart, scales: scalesStart,
                        assignments: UnsafeBufferPointer(rebasing: $0[part]), outputs: outputs))
            }
        }
    }

    /// Answers with what was computed elsewhere: [request.assignments][format.outputBytes].
    func answer(with outputs: UnsafeRawPointer) throws {
        let width = format.outputBytes
        try answer { _, part, copy in
            copy.copyMemory(from: outputs + part.lowerBound * width, byteCount: part.count * width)
        }
    }

    private func answer(
        _ fill: (_ request: ExpertRequest, _ part: Range<Int>, _ outputs: UnsafeMutableRawPointer) throws -> Void
    ) throws {
        guard let request else { return }
        self.request = nil
        var part = 0..<0
        while part.upperBound < request.assignments {
            part = self.part(from: part.upperBound)
            guard let outputs = try outgoing.allocate(part.count * format.outputBytes).baseAddress else { return }
            do { try fill(request, part, outputs) } catch { return try fail(request, "\(error)") }
            guard try sendOutgoing(request, part) else { return }
        }
    }

    /// The next part to answer: to the end of an expert's rows, lest its weights be read again, unless it has so many that
    /// what waits to be sent would grow large.
    private func part(from begin: Int) -> Range<Int> {
        let least = DataMessage.leastPart
        var end = begin + least
        while end < min(assignments.count, begin + 2 * least), assignments[end].expert == assignments[end - 1].expert {
            end += 1
        }
        // A small rest goes along.
        return begin..<(assignments.count - end < least ? assignments.count : end)
    }

    /// False when it cannot be sent, and is computed elsewhere.
    private func sendOutgoing(_ request: ExpertRequest, _ part: Range<Int>) throws -> Bool {
        let header = DataMessage.response(
            epoch: request.epoch, sequence: request.sequence, first: part.lowerBound, assignments: part.count)
        guard try header.withEncoded(begin) else { return false }
        _ = try client.socket.send(outgoing, more: false)
        return true
    }

    /// Sends the first frame of an answer; false when it cannot be sent.
    private func begin(_ header: UnsafeRawBufferPointer) throws -> Bool {
        if try client.socket.send(header, more: true) == .sent { return true }
        // The socket notices that there is room again only when it looks.
        client.socket.refresh()
        return try client.socket.send(header, more: true) == .sent
    }

    private func receiveRequest() throws -> (ExpertRequest, ExpertSet) {
        guard case .request(let request) = try DataMessage.decode(incoming.bytes, arena: arena) else {
            throw WireError(.unexpectedMessage)
        }
        guard request.precision == format.precision else { throw WireError(.wrongPrecision) }
        guard (1...DataMessage.maximumAssignments).contains(request.assignments), request.layer < shape.layers,
            (1...request.assignments).contains(request.rows)
        else { throw WireError(.outOfBounds) }
        guard let owned = client.share.experts(of: request.epoch) else { throw WireError(.staleEpoch) }

        let pairs = try receiveFrame(request.assignments * 8)
        assignments.removeAll(keepingCapacity: true)
        for index in 0..<request.assignments {
            let row = Int32(littleEndian: pairs.loadUnaligned(fromByteOffset: index * 8, as: Int32.self))
            let expert = Int32(littleEndian: pairs.loadUnaligned(fromByteOffset: index * 8 + 4, as: Int32.self))
            guard (0..<request.rows).contains(Int(row)), (0..<shape.experts).contains(Int(expert)) else {
                throw WireError(.outOfBounds)
            }
            assignments.append(ExpertAssignment(row: row, expert: expert, slot: Int32(index)))
        }
        // A received frame lies at any address; the kernels want their elements aligned.
        values.copy(try receiveFrame(request.rows * format.valueBytes))
        scales.copy(try receiveFrame(request.rows * format.scaleBytes))
        guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
        return (request, owned)
    }

    private func receiveFrame(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard try client.socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
        guard incoming.bytes.count == count else { throw WireError(.wrongFrameSize) }
        return incoming.bytes
    }

    private func fail(_ request: ExpertRequest, _ reason: String) throws {
        client.counters.count(.expertFailure, reason)
        let header = DataMessage.failure(epoch: request.epoch, sequence: request.sequence, reason: reason)
        _ = try header.withEncoded { try client.socket.send($0, more: false) }
    }
}
