import Transformer

/// Checks, computes and answers the requests of one data socket. Everything it needs is kept from request to request.
final class RequestHandler {
    private let socket: ZMQSocket
    private let format: ExpertRowFormat
    private let shape: ModelShape
    private let counters: DropCounters
    private let experts: any ExpertExecutor
    private let arena = WireArena(capacity: 16_384)
    private let incoming = ZMQMessage(), outgoing = ZMQMessage()
    private var values = AlignedBytes(), scales = AlignedBytes()
    private var assignments: [ExpertAssignment] = []

    init(
        socket: ZMQSocket, format: ExpertRowFormat, shape: ModelShape, counters: DropCounters,
        experts: any ExpertExecutor
    ) {
        self.socket = socket
        self.format = format
        self.shape = shape
        self.counters = counters
        self.experts = experts
    }

    /// Answers one request; false when there is none. `owned` names the experts this worker has in an epoch.
    func handleOne(_ owned: (_ epoch: UInt64) -> ExpertSet?) throws -> Bool {
        guard try socket.receive(incoming) else { return false }
        do {
            let (request, experts) = try receiveRequest(owned)
            if assignments.allSatisfy({ experts.contains(layer: request.layer, expert: Int($0.expert)) }) {
                try answer(request)
            } else {
                try fail(request, "an expert of layer \(request.layer) is not this worker's")
            }
        } catch let error as WireError {
            counters.count(error.cause, "from the coordinator")
        }
        try socket.discardRest(incoming)
        return true
    }

    private func receiveRequest(_ owned: (UInt64) -> ExpertSet?) throws -> (ExpertRequest, ExpertSet) {
        guard case .request(let request) = try DataMessage.decode(incoming.bytes, arena: arena) else {
            throw WireError(.unexpectedMessage)
        }
        guard request.precision == format.precision else { throw WireError(.wrongPrecision) }
        guard (1...DataMessage.maximumAssignments).contains(request.assignments), request.layer < shape.layers,
            (1...request.assignments).contains(request.rows)
        else { throw WireError(.outOfBounds) }
        guard let experts = owned(request.epoch) else { throw WireError(.staleEpoch) }

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
        return (request, experts)
    }

    private func receiveFrame(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
        guard incoming.bytes.count == count else { throw WireError(.wrongFrameSize) }
        return incoming.bytes
    }

    private func answer(_ request: ExpertRequest) throws {
        let outputs = try outgoing.allocate(request.assignments * format.outputBytes)
        guard let start = outputs.baseAddress else { return }
        do {
            try experts.beginStep()
            try assignments.withUnsafeBufferPointer {
                try experts.run(
                    ExpertBatch(
                        layer: request.layer, rowCount: request.rows, values: values.start, scales: scales.start,
                        assignments: $0, outputs: start))
            }
        } catch {
            return try fail(request, "\(error)")
        }
        let header = DataMessage.response(
            epoch: request.epoch, sequence: request.sequence, assignments: request.assignments)
        // An answer that cannot be sent is computed elsewhere.
        guard try header.withEncoded({ try socket.send($0, more: true) }) == .sent else { return }
        _ = try socket.send(outgoing, more: false)
    }

    private func fail(_ request: ExpertRequest, _ reason: String) throws {
        counters.count(.expertFailure, reason)
        let header = DataMessage.failure(epoch: request.epoch, sequence: request.sequence, reason: reason)
        _ = try header.withEncoded { try socket.send($0, more: false) }
    }
}

/// Bytes aligned for any element and vector, whose memory grows and is kept.
private struct AlignedBytes: ~Copyable {
    private var memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
    private var capacity = 64

    deinit { memory.deallocate() }

    /// Valid until the next copy.
    var start: UnsafeRawPointer { UnsafeRawPointer(memory) }

    mutating func copy(_ bytes: UnsafeRawBufferPointer) {
        if capacity < bytes.count {
            memory.deallocate()
            memory = .allocate(byteCount: bytes.count, alignment: 64)
            capacity = bytes.count
        }
        UnsafeMutableRawBufferPointer(start: memory, count: capacity).copyMemory(from: bytes)
    }
}
