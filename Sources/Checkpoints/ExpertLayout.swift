/// How the tensors of one expert follow each other where it stands alone, on the wire and in a cache: those of gate and
/// up, then those of down, each with its scales (where it has any) and its bias. Nothing lies between them.
public struct ExpertLayout: Sendable, Equatable {
    /// One tensor each, in order.
    public let ranges: [Range<Int>]

    /// The layout of a config's experts, which all have the same. No dimension that a config may have overflows it.
    public init(_ config: ExpertConfig) {
        let matrices = [
            (rows: 2 * config.intermediateSize, columns: config.hiddenSize),
            (rows: config.hiddenSize, columns: config.intermediateSize),
        ]
        let sizes: [Int] = matrices.flatMap { rows, columns in
            let count = rows * columns
            return switch config.format {
            case .mxfp4: [count / 2, count / 32, rows * 2]
            case .bf16: [count * 2, rows * 2]
            }
        }
        var end = 0
        ranges = sizes.map { size in
            defer { end += size }
            return end..<end + size
        }
    }

    /// Bytes of one expert.
    public var byteCount: Int { ranges.last?.upperBound ?? 0 }
}
