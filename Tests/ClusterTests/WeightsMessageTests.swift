import Checkpoints
import Cluster
import TestSupport
import Testing

@Suite struct WeightsMessageTests {
    static let model = ModelIdentity(
        shape: FakeModel.shape, digest: [UInt8](repeating: 7, count: 32), bytesPerExpert: 2 * Chunks.size + 1)
    private let arena = WireArena(capacity: 4096)

    private func decode(_ bytes: [UInt8]) throws -> WeightsMessage {
        try bytes.withUnsafeBytes { try WeightsMessage.decode($0, model: Self.model, arena: arena) }
    }

    private func encoded(_ message: WeightsMessage) -> [UInt8] { message.encoded(digest: Self.model.digest) }

    private static let last = ExpertID(layer: 2, expert: 7)

    @Test("every message survives its encoding")
    func roundTrip() throws {
        for message in [.manifest(Self.last), .chunk(Self.last, 2), .chunk(ExpertID(layer: 0, expert: 0), 0)]
            as [WeightsMessage]
        {
            #expect(try decode(encoded(message)) == message)
        }
    }

    @Test("what the model does not have is out of bounds")
    func bounds() {
        for message in [
            .manifest(ExpertID(layer: 3, expert: 0)), .manifest(ExpertID(layer: 0, expert: 8)),
            .chunk(Self.last, 3), .chunk(Self.last, .max),
        ] as [WeightsMessage] {
            #expect(throws: WireError(.outOfBounds)) { try decode(encoded(message)) }
        }
    }

    @Test("a message about another checkpoint, or of another version, is told apart")
    func others() {
        let message = WeightsMessage.manifest(Self.last)
        #expect(throws: WireError(.wrongCheckpoint)) { try decode(message.encoded(digest: [1, 2])) }
        #expect(throws: WireError(.wrongCheckpoint)) { try decode(message.encoded(digest: [])) }
        let bytes = encoded(message)
        #expect(throws: WireError(.wrongProtocolVersion)) { try decode([bytes[0], 99] + bytes.dropFirst(2)) }
        #expect(throws: WireError(.oversizedHeader)) {
            try decode([UInt8](repeating: 0, count: WeightsMessage.maximumBytes + 1))
        }
    }

    @Test("a hundred thousand mutated headers: each is taken or refused, none traps")
    func mutations() throws {
        var random = SeededGenerator(seed: 21)
        let originals = [encoded(.manifest(Self.last)), encoded(.chunk(Self.last, 2))]
        var (taken, refused) = (0, 0)
        for _ in 0..<100_000 {
            guard let original = originals.randomElement(using: &random) else { continue }
            do {
                let message = try decode(original.mutated(with: [WireTests.endlessNumber], using: &random))
                #expect(message.expert.layer < 3 && message.expert.expert < 8)
                taken += 1
            } catch is WireError {
                refused += 1
            }
        }
        #expect(taken > 0 && refused > 0)
    }

    @Test("an expert is cut into chunks that cover it once")
    func chunks() {
        for bytes in [1, Chunks.size - 1, Chunks.size, Chunks.size + 1, 13_236_480] {
            let chunks = Chunks(expertBytes: bytes)
            var end = 0
            for index in 0..<chunks.count {
                #expect(chunks.range(index).lowerBound == end && chunks.range(index).count <= Chunks.size)
                end = chunks.range(index).upperBound
            }
            #expect(end == bytes && chunks.manifestBytes == chunks.count * 32)
        }
    }
}
