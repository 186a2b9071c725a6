import ClusterProtocol

/// One expert of one layer.
package struct ExpertID: Sendable, Hashable, Comparable {
    package var layer: Int
    package var expert: Int

    package init(layer: Int, expert: Int) {
        self.layer = layer
        self.expert = expert
    }

    package static func < (left: ExpertID, right: ExpertID) -> Bool {
        (left.layer, left.expert) < (right.layer, right.expert)
    }
}

/// The headers of the weights socket: a worker asks with one, and has the same back with what it asked for behind it.
package enum WeightsMessage: Sendable, Hashable {
    /// Behind the answer: a ``ChunkDigest`` for each chunk of the expert.
    case manifest(ExpertID)
    /// Behind the answer: the chunk.
    case chunk(ExpertID, Int)

    /// Headers beyond this size are not parsed.
    package static let maximumBytes = 256

    package var expert: ExpertID {
        switch self {
        case .manifest(let expert), .chunk(let expert, _): expert
        }
    }

    /// Parses a header about the checkpoint of that digest.
    /// - Throws: ``WireError``, also for what the model does not have.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, model: ModelIdentity, arena: WireArena
    ) throws -> WeightsMessage {
        guard bytes.count <= maximumBytes else { throw WireError(.oversizedHeader) }
        let message: WeightsMessage = try arena.withAllocator { allocator in
            guard
                let message = shoal__weights_message__unpack(
                    allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))?.pointee
            else { throw WireError(.malformedHeader) }
            guard message.protocol_version == protocolVersion else { throw WireError(.wrongProtocolVersion) }
            let digest = UnsafeBufferPointer(
                start: message.checkpoint_digest.data, count: message.checkpoint_digest.len)
            guard digest.elementsEqual(model.digest) else { throw WireError(.wrongCheckpoint) }
            switch message.body_case {
            case SHOAL__WEIGHTS_MESSAGE__BODY_MANIFEST:
                guard let body = message.manifest?.pointee else { throw WireError(.malformedHeader) }
                return .manifest(ExpertID(layer: Int(body.layer), expert: Int(body.expert)))
            case SHOAL__WEIGHTS_MESSAGE__BODY_CHUNK:
                guard let body = message.chunk?.pointee else { throw WireError(.malformedHeader) }
                return .chunk(ExpertID(layer: Int(body.layer), expert: Int(body.expert)), Int(body.index))
            default: throw WireError(.unexpectedMessage)
            }
        }
        let expert = message.expert
        guard expert.layer < model.shape.layers, expert.expert < model.shape.experts else {
            throw WireError(.outOfBounds)
        }
        if case .chunk(_, let index) = message, index >= Chunks(of: model).count { throw WireError(.outOfBounds) }
        return message
    }

    /// The header frame, about the checkpoint of that digest.
    package func encoded(digest: [UInt8]) -> [UInt8] {
        var message = Shoal__WeightsMessage()
        shoal__weights_message__init(&message)
        message.protocol_version = protocolVersion
        var digest = digest
        return digest.withUnsafeMutableBufferPointer { digest in
            message.checkpoint_digest.data = digest.baseAddress
            message.checkpoint_digest.len = digest.count
            switch self {
            case .manifest(let expert):
                var body = Shoal__Manifest()
                shoal__manifest__init(&body)
                body.layer = UInt32(clamping: expert.layer)
                body.expert = UInt32(clamping: expert.expert)
                return withUnsafeMutablePointer(to: &body) {
                    message.body_case = SHOAL__WEIGHTS_MESSAGE__BODY_MANIFEST
                    message.manifest = $0
                    return message.packed()
                }
            case .chunk(let expert, let index):
                var body = Shoal__Chunk()
                shoal__chunk__init(&body)
                body.layer = UInt32(clamping: expert.layer)
                body.expert = UInt32(clamping: expert.expert)
                body.index = UInt32(clamping: index)
                return withUnsafeMutablePointer(to: &body) {
                    message.body_case = SHOAL__WEIGHTS_MESSAGE__BODY_CHUNK
                    message.chunk = $0
                    return message.packed()
                }
            }
        }
    }
}

extension Shoal__WeightsMessage {
    fileprivate mutating func packed() -> [UInt8] {
        let count = shoal__weights_message__get_packed_size(&self)
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            initialized = shoal__weights_message__pack(&self, buffer.baseAddress)
        }
    }
}
