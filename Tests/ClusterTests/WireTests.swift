import Checkpoints
import Cluster
import TestSupport
import Testing
import Transformer

@Suite struct WireTests {
    static let controlMessages: [ControlMessage] = {
        var experts = ExpertSet(shape: FakeModel.shape)
        for expert in 0..<8 where expert % 3 == 0 { experts.insert(layer: 1, expert: expert) }
        return [
            .join(
                JoinRequest(
                    name: "host:1", memoryBudget: .max, threads: 12, digest: Array(0..<32), shape: FakeModel.shape,
                    precisions: Precision.allCases)),
            .assign(
                Assignment(
                    epoch: 7, precision: .exact, experts: experts, dataEndpoint: "tcp://127.0.0.1:5",
                    heartbeatInterval: .milliseconds(500))),
            .ready(epoch: .max), .heartbeat, .inForce(0 ... .max), .leave(reason: "tired"),
            .refuse(Refusal(cause: .digest, reason: "a reason")),
            .join(
                JoinRequest(
                    name: "", memoryBudget: 1 << 33, threads: 1, digest: [], shape: nil, precisions: [.exact])),
            .model(model), .loading(LoadingProgress(loaded: 1, wanted: .max, received: 3)),
            .computed(ComputeTotals(work: .max, nanoseconds: 7)),
        ]
    }()

    static let model = ModelDescription(
        digest: Array(0..<32), experts: expertConfig, weightsEndpoint: "tcp://127.0.0.1:9")
    private static let expertConfig = ExpertConfig(Synthesis(.gptOSS20B).config)

    static let dataMessages: [DataMessage] = [
        .request(
            ExpertRequest(epoch: 1, sequence: .max, layer: 2, rows: 3, assignments: 12, precision: .int8)),
        .response(epoch: 1, sequence: 4, assignments: 12),
        .response(epoch: 1, sequence: 4, first: 7, assignments: 5),
        .failure(epoch: 1, sequence: 4, reason: "out of memory"),
    ]

    /// As protobuf writes numbers; longer than any.
    static let endlessNumber = [UInt8](repeating: 0xFF, count: 12)

    private let arena = WireArena(capacity: 262_144)

    private func decodeControl(_ bytes: [UInt8]) throws -> ControlMessage {
        try bytes.withUnsafeBytes { try ControlMessage.decode($0, shape: FakeModel.shape, arena: arena) }
    }

    private func decodeData(_ bytes: [UInt8]) throws -> DataMessage {
        try bytes.withUnsafeBytes { try DataMessage.decode($0, arena: arena) }
    }

    @Test("every message survives its encoding")
    func roundTrip() throws {
        for message in Self.controlMessages { #expect(try decodeControl(message.encoded()) == message) }
        for message in Self.dataMessages { #expect(try decodeData(message.withEncoded(Array.init)) == message) }
    }

    @Test("another protocol version is told apart, and a refusal is understood in every version")
    func versions() throws {
        // The version is the first field: tag 0x08, then the number.
        func versioned(_ message: [UInt8]) -> [UInt8] { [message[0], 99] + message.dropFirst(2) }
        #expect(throws: WireError(.wrongProtocolVersion)) {
            try decodeControl(versioned(ControlMessage.heartbeat.encoded()))
        }
        #expect(throws: WireError(.wrongProtocolVersion)) {
            try decodeData(versioned(Self.dataMessages[0].withEncoded(Array.init)))
        }
        let refusal = ControlMessage.refuse(Refusal(cause: .protocolVersion, reason: "old"))
        #expect(try decodeControl(versioned(refusal.encoded())) == refusal)
    }

    @Test("a model whose dimensions no config may have is no model")
    func modelBounds() throws {
        func config(
            layers: Int = 1, experts: Int = 1, hidden: Int = 32, intermediate: Int = 32,
            format: ModelConfig.ExpertFormat = .mxfp4, limit: Float = 7
        ) throws -> ExpertConfig {
            try ExpertConfig(
                layerCount: layers, expertCount: experts, hiddenSize: hidden, intermediateSize: intermediate,
                format: format, swigluLimit: limit, swigluAlpha: 1.7)
        }
        #expect(try config().hiddenSize == 32)
        #expect(try config(hidden: 33, format: .bf16).hiddenSize == 33)
        #expect(throws: CheckpointError.self) { try config(layers: 0) }
        #expect(throws: CheckpointError.self) { try config(layers: 1 << 11) }
        #expect(throws: CheckpointError.self) { try config(experts: 1 << 15) }
        #expect(throws: CheckpointError.self) { try config(hidden: 1 << 18) }
        #expect(throws: CheckpointError.self) { try config(hidden: 33) }
        #expect(throws: CheckpointError.self) { try config(intermediate: 0) }
        #expect(throws: CheckpointError.self) { try config(limit: .nan) }
        var model = Self.model
        model.digest = [1, 2, 3]
        #expect(throws: WireError(.malformedHeader)) { try decodeControl(ControlMessage.model(model).encoded()) }
    }

    @Test("epochs in force that end before they begin are malformed")
    func backwards() throws {
        // A heartbeat's epochs are its last four bytes: field 1, 5; field 2, 9.
        var bytes = ControlMessage.inForce(5...9).encoded()
        #expect(Array(bytes.suffix(4)) == [0x08, 5, 0x10, 9])
        bytes[bytes.count - 1] = 4
        #expect(throws: WireError(.malformedHeader)) { try decodeControl(bytes) }
    }

    @Test("nobody who does not know the model can read an assignment")
    func assignmentWithoutModel() throws {
        let assign = try #require(Self.controlMessages.first { if case .assign = $0 { true } else { false } })
        #expect(throws: WireError(.unexpectedMessage)) {
            try assign.encoded().withUnsafeBytes { try ControlMessage.decode($0, shape: nil, arena: arena) }
        }
    }

    @Test("oversized, empty and unknown messages are told apart")
    func malformed() {
        #expect(throws: WireError(.oversizedHeader)) {
            try decodeControl([UInt8](repeating: 0, count: ControlMessage.maximumBytes + 1))
        }
        #expect(throws: WireError(.oversizedHeader)) {
            try decodeData([UInt8](repeating: 0, count: DataMessage.maximumBytes + 1))
        }
        #expect(throws: WireError(.malformedHeader)) { try decodeData([0xFF]) }
        #expect(throws: WireError(.unexpectedMessage)) { try decodeControl([0x08, UInt8(protocolVersion)]) }
        #expect(throws: WireError(.wrongProtocolVersion)) { try decodeControl([]) }
    }

    @Test("text for the log is short, and cannot control a terminal")
    func text() throws {
        let hostile = "a\u{1B}[2J\u{9B}\n\r\u{2028}\u{202E}\u{7F}é" + String(repeating: "e\u{301}", count: 1000)
        let message = try decodeControl(ControlMessage.leave(reason: hostile).encoded())
        guard case .leave(let reason) = message else { return #expect(Bool(false), "another message") }
        #expect(reason.hasPrefix("a [2J      é") && reason.unicodeScalars.count == 300)
    }

    @Test("no header can make the parser take more than its arena")
    func bomb() {
        // Thousands of unknown fields, for each of which the parser keeps a record.
        let bytes = [UInt8]((0..<32_000).flatMap { _ in [0x78, 0x01] as [UInt8] })
        #expect(throws: WireError(.malformedHeader)) { try decodeControl(bytes) }
    }

    @Test("three hundred thousand mutated headers: each is taken or refused, none traps")
    func mutations() throws {
        var random = SeededGenerator(seed: 20)
        let control = Self.controlMessages.map { $0.encoded() }
        let data = Self.dataMessages.map { $0.withEncoded(Array.init) }
        var taken = 0
        var refused = 0
        for _ in 0..<150_000 {
            for isControl in [true, false] {
                guard let original = (isControl ? control : data).randomElement(using: &random) else { continue }
                let bytes = original.mutated(with: [Self.endlessNumber], using: &random)
                do {
                    if isControl { _ = try decodeControl(bytes) } else { _ = try decodeData(bytes) }
                    taken += 1
                } catch is WireError {
                    refused += 1
                }
            }
        }
        #expect(taken + refused == 300_000 && taken > 0 && refused > 0)
    }
}
