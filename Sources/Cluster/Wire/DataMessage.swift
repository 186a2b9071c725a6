import ClusterProtocol
package import Transformer

/// Says what the frames behind it hold: rows of one layer, and which experts are to be applied to them.
package struct ExpertRequest: Sendable, Equatable {
    package var epoch: UInt64
    package var sequence: UInt64
    package var layer: Int
    package var rows: Int
    package var assignments: Int
    package var precision: Precision

    package init(epoch: UInt64, sequence: UInt64, layer: Int, rows: Int, assignments: Int, precision: Precision) {
        self.epoch = epoch
        self.sequence = sequence
        self.layer = layer
        self.rows = rows
        self.assignments = assignments
        self.precision = precision
    }
}

/// The headers of the data sockets, checked as far as they can be by themselves.
package enum DataMessage: Sendable, Equatable {
    case request(ExpertRequest)
    /// To `assignments` of the request's, from `first` on.
    case response(epoch: UInt64, sequence: UInt64, first: Int = 0, assignments: Int)
    case failure(epoch: UInt64, sequence: UInt64, reason: String)

    /// Headers beyond this size are not parsed.
    package static let maximumBytes = 1024
    /// Larger batches are cut into messages of this many assignments, and so of at most as many rows; with the model's
    /// dimensions that bounds every frame.
    package static let maximumAssignments = 2048
    /// A worker answers in parts of at least so many assignments, enough to compute that a part's way is short beside it,
    /// and of less than three times as many: larger ones are not received (proto/cluster.proto).
    static let leastPart = 256
    /// So many messages of a peer may wait to be received. Fewer ever do; but each time that half of so many have been read
    /// libzmq tells the connection's thread, and tells it again at each frame of the next message but its last (pipe.cpp
    /// of 4.3).
    static let queue: Int32 = 16

    /// Bytes of the largest frame that follows a request's header.
    static func maximumRequestFrame(_ format: ExpertRowFormat) -> Int {
        maximumAssignments * max(format.valueBytes, MemoryLayout<Int32>.size * 2)
    }

    /// Bytes of the largest frame that follows an answer's header.
    static func maximumAnswerFrame(_ format: ExpertRowFormat) -> Int { 3 * leastPart * format.outputBytes }

    /// Parses a header without allocating.
    /// - Throws: ``WireError``.
    package static func decode(_ bytes: UnsafeRawBufferPointer, arena: WireArena) throws -> DataMessage {
        guard bytes.count <= maximumBytes else { throw WireError(.oversizedHeader) }
        return try arena.withAllocator { allocator in
            guard
                let message = shoal__data_message__unpack(
                    allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))?.pointee
            else { throw WireError(.malformedHeader) }
            guard message.protocol_version == protocolVersion else { throw WireError(.wrongProtocolVersion) }
            switch message.body_case {
            case SHOAL__DATA_MESSAGE__BODY_REQUEST:
                guard let request = message.request?.pointee else { throw WireError(.malformedHeader) }
                guard let precision = Precision(wire: request.precision) else { throw WireError(.wrongPrecision) }
                return .request(
                    ExpertRequest(
                        epoch: request.epoch, sequence: request.sequence, layer: Int(request.layer),
                        rows: Int(request.rows), assignments: Int(request.assignments), precision: precision))
            case SHOAL__DATA_MESSAGE__BODY_RESPONSE:
                guard let response = message.response?.pointee else { throw WireError(.malformedHeader) }
                return .response(
                    epoch: response.epoch, sequence: response.sequence, first: Int(response.first),
                    assignments: Int(response.assignments))
            case SHOAL__DATA_MESSAGE__BODY_FAILURE:
                guard let failure = message.failure?.pointee else { throw WireError(.malformedHeader) }
                return .failure(
                    epoch: failure.epoch, sequence: failure.sequence, reason: String(wire: failure.reason))
            default: throw WireError(.unexpectedMessage)
            }
        }
    }

    /// Calls `body` with the header frame. Allocates nothing for requests and responses.
    package func withEncoded<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        var message = Shoal__DataMessage()
        shoal__data_message__init(&message)
        message.protocol_version = protocolVersion
        switch self {
        case .request(let request):
            var wire = Shoal__ExpertRequest()
            shoal__expert_request__init(&wire)
            wire.epoch = request.epoch
            wire.sequence = request.sequence
            wire.layer = UInt32(clamping: request.layer)
            wire.rows = UInt32(clamping: request.rows)
            wire.assignments = UInt32(clamping: request.assignments)
            wire.precision = request.precision.wire
            return try withUnsafeMutablePointer(to: &wire) {
                message.body_case = SHOAL__DATA_MESSAGE__BODY_REQUEST
                message.request = $0
                return try message.withPacked(body)
            }
        case .response(let epoch, let sequence, let first, let assignments):
            var wire = Shoal__ExpertResponse()
            shoal__expert_response__init(&wire)
            wire.epoch = epoch
            wire.sequence = sequence
            wire.assignments = UInt32(clamping: assignments)
            wire.first = UInt32(clamping: first)
            return try withUnsafeMutablePointer(to: &wire) {
                message.body_case = SHOAL__DATA_MESSAGE__BODY_RESPONSE
                message.response = $0
                return try message.withPacked(body)
            }
        case .failure(let epoch, let sequence, let reason):
            var wire = Shoal__ExpertFailure()
            shoal__expert_failure__init(&wire)
            wire.epoch = epoch
            wire.sequence = sequence
            var text = Array(reason.utf8CString.prefix(300)) + [0]
            return try text.withUnsafeMutableBufferPointer { text in
                wire.reason = text.baseAddress
                return try withUnsafeMutablePointer(to: &wire) {
                    message.body_case = SHOAL__DATA_MESSAGE__BODY_FAILURE
                    message.failure = $0
                    return try message.withPacked(body)
                }
            }
        }
    }
}

extension Shoal__DataMessage {
    fileprivate mutating func withPacked<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        let count = shoal__data_message__get_packed_size(&self)
        return try withUnsafeTemporaryAllocation(byteCount: count, alignment: 1) { buffer in
            let packed = shoal__data_message__pack(&self, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self))
            return try body(UnsafeRawBufferPointer(rebasing: buffer.prefix(packed)))
        }
    }
}
