import Cluster
import Transformer

/// A model that costs nothing: an expert's output is a hash of layer, expert and row.
enum FakeModel {
    static let shape = ModelShape(layers: 3, experts: 8, hiddenSize: 80, intermediateSize: 64)
    static let identity = ModelIdentity(shape: shape, digest: [1, 2, 3], bytesPerExpert: 1000)
}

final class FakeExperts: ExpertExecutor {
    private let format: ExpertRowFormat
    private let before: @Sendable () throws -> Void

    /// `before` is called at the start of every batch.
    init(
        _ precision: Precision, shape: ModelShape = FakeModel.shape, before: @escaping @Sendable () throws -> Void = {}
    ) {
        format = ExpertRowFormat(precision: precision, hiddenSize: shape.hiddenSize)
        self.before = before
    }

    func beginStep() {}

    func finish() {}

    func start(_ batch: ExpertBatch) throws {
        try before()
        for assignment in batch.assignments {
            var hash: UInt64 = 0xcbf2_9ce4_8422_2325
            func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            mix(UInt8(batch.layer))
            mix(UInt8(assignment.expert))
            let row = Int(assignment.row)
            for i in 0..<format.valueBytes {
                mix(batch.values.load(fromByteOffset: row * format.valueBytes + i, as: UInt8.self))
            }
            for i in 0..<format.scaleBytes {
                mix(batch.scales.load(fromByteOffset: row * format.scaleBytes + i, as: UInt8.self))
            }
            for i in 0..<format.outputBytes {
                mix(UInt8(truncatingIfNeeded: i))
                batch.outputs.storeBytes(
                    of: UInt8(truncatingIfNeeded: hash >> 32) & 0xBF,  // Neither NaN nor infinity.
                    toByteOffset: Int(assignment.slot) * format.outputBytes + i,
                    as: UInt8.self)
            }
        }
    }
}
