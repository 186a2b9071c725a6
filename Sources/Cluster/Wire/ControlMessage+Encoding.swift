import Checkpoints
import ClusterProtocol

extension ControlMessage {
    /// The header frame.
    package func encoded() -> [UInt8] {
        switch self {
        case .join(let join): join.encoded()
        case .assign(let assignment): assignment.encoded()
        case .ready(let epoch):
            packed(\.ready, SHOAL__CONTROL_MESSAGE__BODY_READY, Shoal__Ready.self, shoal__ready__init) {
                $0.epoch = epoch
            }
        case .heartbeat:
            packed(
                \.heartbeat, SHOAL__CONTROL_MESSAGE__BODY_HEARTBEAT, Shoal__Heartbeat.self, shoal__heartbeat__init
            ) { _ in }
        case .inForce(let epochs): Self.encoded(inForce: epochs)
        case .leave(let reason):
            reason.withMutableCString { reason in
                packed(\.leave, SHOAL__CONTROL_MESSAGE__BODY_LEAVE, Shoal__Leave.self, shoal__leave__init) {
                    $0.reason = reason
                }
            }
        case .refuse(let refusal):
            refusal.reason.withMutableCString { reason in
                packed(\.refuse, SHOAL__CONTROL_MESSAGE__BODY_REFUSE, Shoal__Refuse.self, shoal__refuse__init) {
                    $0.cause = Shoal__Refuse__Cause(rawValue: refusal.cause.rawValue)
                    $0.reason = reason
                }
            }
        case .model(let model): model.encoded()
        case .loading(let progress):
            packed(\.loading, SHOAL__CONTROL_MESSAGE__BODY_LOADING, Shoal__Loading.self, shoal__loading__init) {
                $0.loaded_bytes = progress.loaded
                $0.wanted_bytes = progress.wanted
                $0.received_bytes = progress.received
            }
        case .computed(let totals):
            packed(\.computed, SHOAL__CONTROL_MESSAGE__BODY_COMPUTED, Shoal__Computed.self, shoal__computed__init) {
                $0.work = totals.work
                $0.nanoseconds = totals.nanoseconds
            }
        }
    }
}

extension ControlMessage {
    private static func encoded(inForce epochs: ClosedRange<UInt64>) -> [UInt8] {
        var wire = Shoal__Epochs()
        shoal__epochs__init(&wire)
        wire.first = epochs.lowerBound
        wire.last = epochs.upperBound
        return withUnsafeMutablePointer(to: &wire) { wire in
            packed(
                \.heartbeat, SHOAL__CONTROL_MESSAGE__BODY_HEARTBEAT, Shoal__Heartbeat.self, shoal__heartbeat__init
            ) { $0.in_force = wire }
        }
    }
}

extension ModelShape {
    fileprivate var wire: Shoal__Shape {
        var wire = Shoal__Shape()
        shoal__shape__init(&wire)
        wire.layers = UInt32(clamping: layers)
        wire.experts = UInt32(clamping: experts)
        wire.hidden_size = UInt32(clamping: hiddenSize)
        wire.intermediate_size = UInt32(clamping: intermediateSize)
        return wire
    }
}

extension ModelDescription {
    fileprivate func encoded() -> [UInt8] {
        var shape = ModelIdentity(experts, digest: digest).shape.wire
        var digest = digest
        return weightsEndpoint.withMutableCString { endpoint in
            digest.withUnsafeMutableBufferPointer { digest in
                withUnsafeMutablePointer(to: &shape) { shape in
                    packed(\.model, SHOAL__CONTROL_MESSAGE__BODY_MODEL, Shoal__Model.self, shoal__model__init) {
                        $0.checkpoint_digest.data = digest.baseAddress
                        $0.checkpoint_digest.len = digest.count
                        $0.shape = shape
                        $0.format = experts.format.wire
                        $0.swiglu_limit = experts.swigluLimit
                        $0.swiglu_alpha = experts.swigluAlpha
                        $0.weights_endpoint = endpoint
                    }
                }
            }
        }
    }
}

extension JoinRequest {
    fileprivate func encoded() -> [UInt8] {
        var wireShape = shape?.wire ?? Shoal__Shape()
        var wirePrecisions = precisions.map(\.wire)
        var digest = digest
        return name.withMutableCString { name in
            digest.withUnsafeMutableBufferPointer { digest in
                wirePrecisions.withUnsafeMutableBufferPointer { precisions in
                    withUnsafeMutablePointer(to: &wireShape) { shape in
                        packed(\.join, SHOAL__CONTROL_MESSAGE__BODY_JOIN, Shoal__Join.self, shoal__join__init) {
                            $0.name = name
                            $0.memory_budget = memoryBudget
                            $0.threads = UInt32(clamping: threads)
                            $0.checkpoint_digest.data = digest.baseAddress
                            $0.checkpoint_digest.len = digest.count
                            $0.shape = self.shape == nil ? nil : shape
                            $0.precisions = precisions.baseAddress
                            $0.n_precisions = precisions.count
                        }
                    }
                }
            }
        }
    }
}

extension Assignment {
    fileprivate func encoded() -> [UInt8] {
        var bits = experts.bytes
        return dataEndpoint.withMutableCString { endpoint in
            bits.withUnsafeMutableBufferPointer { bits in
                packed(\.assign, SHOAL__CONTROL_MESSAGE__BODY_ASSIGN, Shoal__Assign.self, shoal__assign__init) {
                    $0.epoch = epoch
                    $0.precision = precision.wire
                    $0.experts.data = bits.baseAddress
                    $0.experts.len = bits.count
                    $0.data_endpoint = endpoint
                    $0.heartbeat_milliseconds = UInt32(clamping: heartbeatInterval.milliseconds)
                }
            }
        }
    }
}

/// Packs a control message whose body `fill` completes; what it points to lives while this runs.
private func packed<Body>(
    _ field: WritableKeyPath<Shoal__ControlMessage, UnsafeMutablePointer<Body>?>,
    _ bodyCase: Shoal__ControlMessage__BodyCase, _: Body.Type, _ initialize: (UnsafeMutablePointer<Body>) -> Void,
    _ fill: (inout Body) -> Void
) -> [UInt8] {
    let body = UnsafeMutablePointer<Body>.allocate(capacity: 1)
    defer { body.deallocate() }
    initialize(body)
    fill(&body.pointee)
    var message = Shoal__ControlMessage()
    shoal__control_message__init(&message)
    message.protocol_version = protocolVersion
    message.body_case = bodyCase
    message[keyPath: field] = body
    let count = shoal__control_message__get_packed_size(&message)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        initialized = shoal__control_message__pack(&message, buffer.baseAddress)
    }
}

extension String {
    /// For C structures that declare their text mutable and do not change it.
    func withMutableCString<Result>(_ body: (UnsafeMutablePointer<CChar>) -> Result) -> Result {
        withCString { body(UnsafeMutablePointer(mutating: $0)) }
    }
}

extension Duration {
    var milliseconds: Int { Int(self / .milliseconds(1)) }
    var seconds: Double { self / .seconds(1) }
}
