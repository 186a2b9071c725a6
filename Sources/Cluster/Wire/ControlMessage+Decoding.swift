import Checkpoints
import ClusterProtocol
import Transformer

extension ControlMessage {
    /// Parses a control message. `shape` bounds the assignments, which nobody can read who does not know it yet; the
    /// arena bounds the memory.
    /// - Throws: ``WireError``. A refusal is understood whatever version it comes from.
    package static func decode(_ bytes: UnsafeRawBufferPointer, shape: ModelShape?, arena: WireArena) throws
        -> ControlMessage
    {
        guard bytes.count <= maximumBytes else { throw WireError(.oversizedHeader) }
        return try arena.withAllocator { allocator in
            guard
                let message = shoal__control_message__unpack(
                    allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
            else { throw WireError(.malformedHeader) }
            let isRefusal = message.pointee.body_case == SHOAL__CONTROL_MESSAGE__BODY_REFUSE
            guard message.pointee.protocol_version == protocolVersion || isRefusal else {
                throw WireError(.wrongProtocolVersion)
            }
            guard let decoded = try message.pointee.checked(shape: shape) else { throw WireError(.malformedHeader) }
            return decoded
        }
    }
}

extension Shoal__ControlMessage {
    /// Nil when a part is missing or makes no sense.
    fileprivate func checked(shape: ModelShape?) throws -> ControlMessage? {
        switch body_case {
        case SHOAL__CONTROL_MESSAGE__BODY_JOIN: join?.pointee.checked.map(ControlMessage.join)
        case SHOAL__CONTROL_MESSAGE__BODY_ASSIGN:
            if let shape {
                assign?.pointee.checked(shape: shape).map(ControlMessage.assign)
            } else {
                throw WireError(.unexpectedMessage)
            }
        case SHOAL__CONTROL_MESSAGE__BODY_MODEL: model?.pointee.checked.map(ControlMessage.model)
        case SHOAL__CONTROL_MESSAGE__BODY_LOADING:
            loading.map {
                .loading(
                    LoadingProgress(
                        loaded: $0.pointee.loaded_bytes, wanted: $0.pointee.wanted_bytes,
                        received: $0.pointee.received_bytes))
            }
        case SHOAL__CONTROL_MESSAGE__BODY_COMPUTED:
            computed.map {
                .computed(ComputeTotals(work: $0.pointee.work, nanoseconds: $0.pointee.nanoseconds))
            }
        case SHOAL__CONTROL_MESSAGE__BODY_READY: ready.map { .ready(epoch: $0.pointee.epoch) }
        case SHOAL__CONTROL_MESSAGE__BODY_HEARTBEAT: heartbeat?.pointee.checked
        case SHOAL__CONTROL_MESSAGE__BODY_LEAVE: leave.map { .leave(reason: String(wire: $0.pointee.reason)) }
        case SHOAL__CONTROL_MESSAGE__BODY_REFUSE:
            refuse.map {
                .refuse(
                    Refusal(
                        cause: Refusal.Cause(rawValue: $0.pointee.cause.rawValue) ?? .unspecified,
                        reason: String(wire: $0.pointee.reason)))
            }
        default: throw WireError(.unexpectedMessage)
        }
    }
}

extension Shoal__Join {
    fileprivate var checked: JoinRequest? {
        guard (shape == nil) == (checkpoint_digest.len == 0), checkpoint_digest.len <= 64, n_precisions <= 16,
            threads > 0
        else { return nil }
        return JoinRequest(
            name: String(wire: name),
            memoryBudget: memory_budget,
            threads: Int(min(threads, 4096)),
            digest: Array(UnsafeBufferPointer(start: checkpoint_digest.data, count: checkpoint_digest.len)),
            shape: shape.map { ModelShape($0.pointee) },
            precisions: UnsafeBufferPointer(start: precisions, count: n_precisions).compactMap(Precision.init(wire:)))
    }
}

extension Shoal__Heartbeat {
    fileprivate var checked: ControlMessage? {
        guard let epochs = in_force?.pointee else { return .heartbeat }
        return epochs.first <= epochs.last ? .inForce(epochs.first...epochs.last) : nil
    }
}

extension Shoal__Assign {
    fileprivate func checked(shape: ModelShape) -> Assignment? {
        let bits = UnsafeBufferPointer(start: experts.data, count: experts.len)
        guard let precision = Precision(wire: precision), let experts = ExpertSet(bytes: bits, shape: shape),
            (1...60_000).contains(heartbeat_milliseconds)
        else { return nil }
        return Assignment(
            epoch: epoch, precision: precision, experts: experts, dataEndpoint: String(wire: data_endpoint),
            heartbeatInterval: .milliseconds(heartbeat_milliseconds))
    }
}

extension Shoal__Model {
    /// Held to the bounds of a config.
    fileprivate var checked: ModelDescription? {
        guard let shape = shape?.pointee, checkpoint_digest.len == 32,
            let format = ModelConfig.ExpertFormat(wire: format),
            let experts = try? ExpertConfig(
                layerCount: Int(shape.layers), expertCount: Int(shape.experts), hiddenSize: Int(shape.hidden_size),
                intermediateSize: Int(shape.intermediate_size), format: format, swigluLimit: swiglu_limit,
                swigluAlpha: swiglu_alpha)
        else { return nil }
        return ModelDescription(
            digest: Array(UnsafeBufferPointer(start: checkpoint_digest.data, count: checkpoint_digest.len)),
            experts: experts, weightsEndpoint: String(wire: weights_endpoint))
    }
}

extension ModelConfig.ExpertFormat {
    /// Nil for a format that this build does not know.
    fileprivate init?(wire: Shoal__ExpertFormat) {
        switch wire {
        case SHOAL__EXPERT_FORMAT__EXPERT_FORMAT_MXFP4: self = .mxfp4
        case SHOAL__EXPERT_FORMAT__EXPERT_FORMAT_BF16: self = .bf16
        default: return nil
        }
    }

    var wire: Shoal__ExpertFormat {
        switch self {
        case .mxfp4: SHOAL__EXPERT_FORMAT__EXPERT_FORMAT_MXFP4
        case .bf16: SHOAL__EXPERT_FORMAT__EXPERT_FORMAT_BF16
        }
    }
}

extension ModelShape {
    fileprivate init(_ shape: Shoal__Shape) {
        self.init(
            layers: Int(shape.layers), experts: Int(shape.experts), hiddenSize: Int(shape.hidden_size),
            intermediateSize: Int(shape.intermediate_size))
    }
}

extension Precision {
    /// Nil for a precision that this build does not know.
    init?(wire: Shoal__Precision) {
        switch wire {
        case SHOAL__PRECISION__PRECISION_INT8: self = .int8
        case SHOAL__PRECISION__PRECISION_EXACT: self = .exact
        case SHOAL__PRECISION__PRECISION_BF16: self = .bf16
        default: return nil
        }
    }

    var wire: Shoal__Precision {
        switch self {
        case .int8: SHOAL__PRECISION__PRECISION_INT8
        case .exact: SHOAL__PRECISION__PRECISION_EXACT
        case .bf16: SHOAL__PRECISION__PRECISION_BF16
        }
    }
}

extension String {
    /// Text from the other side, on its way into a log: at most 300 code points, none that controls a terminal or the
    /// direction of the text.
    init(wire text: UnsafeMutablePointer<CChar>?) {
        let decoded = text.map { String(cString: $0) } ?? ""
        self.init(String.UnicodeScalarView(decoded.unicodeScalars.prefix(300).map { $0.isPlain ? $0 : " " }))
    }
}

extension Unicode.Scalar {
    fileprivate var isPlain: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}
