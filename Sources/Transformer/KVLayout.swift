public import Checkpoints
import Kernels

/// How keys and values are held.
public enum KVFormat: String, Sendable, CaseIterable {
    /// As computed.
    case float32
    /// Rounded to the nearest.
    case bf16
    /// In blocks of 32 elements with a bfloat16 scale each: 17/32 of the memory of ``bf16``.
    case int8

    var inKernels: shoal_kv_format {
        switch self {
        case .float32: SHOAL_KV_F32
        case .bf16: SHOAL_KV_BF16
        case .int8: SHOAL_KV_Q8
        }
    }
}

/// What a page of a model's keys and values holds: ``pageTokens`` positions in all layers of one kind, full or sliding.
/// Sliding layers have pages of their own, so that theirs can be given up behind the window. One size serves both kinds:
/// the larger, which in gpt-oss, whose layers alternate, wastes nothing.
///
/// 131,072 tokens of gpt-oss-20b take 3.2 GB in bf16: 4096 pages of 786,432 bytes for the full layers, and a handful for
/// the window of the others.
public struct KVLayout: Sendable, Equatable {
    /// Positions in a page.
    public static let pageTokens = 32

    /// How the elements are held.
    public let format: KVFormat
    /// Bytes of one page, a multiple of 64.
    public let pageBytes: Int
    /// Whether any layer attends to every position.
    public let hasFullLayers: Bool
    /// Positions that the sliding layers see, a token's own included; nil: there are no such layers.
    public let window: Int?

    let keyValueHeads: Int
    let headDimension: Int
    /// Bytes of one layer's keys, or values, in a page.
    let planeBytes: Int

    /// The layout for a model.
    public init(config: ModelConfig, format: KVFormat) {
        self.format = format
        keyValueHeads = config.keyValueHeadCount
        headDimension = config.headDimension
        planeBytes =
            keyValueHeads * Self.pageTokens * Int(shoal_kv_row_bytes(format.inKernels, config.headDimension))
        let sliding = config.layerTypes.count { $0 == .slidingAttention }
        let full = config.layerCount - sliding
        pageBytes = max(full, sliding) * 2 * planeBytes
        hasFullLayers = full > 0
        window = sliding > 0 ? config.slidingWindow : nil
    }

    /// Refuses dimensions, each of them within its bounds, that together make a page larger than any machine's memory.
    /// - Throws: ``ModelError``.
    static func check(_ config: ModelConfig) throws(ModelError) {
        let bytes = KVLayout(config: config, format: .float32).pageBytes
        guard bytes <= 1 << 32 else {
            throw ModelError(
                "config.json: \(config.layerCount) layers with \(config.keyValueHeadCount) key-value heads of "
                    + "\(config.headDimension) need pages of \(bytes) bytes for the keys and values of \(pageTokens) "
                    + "tokens; expected at most \(1 << 32)")
        }
    }

    /// Pages of each kind that `positions` positions lie in.
    public static func blocks(positions: Int) -> Int { positions / pageTokens + (positions % pageTokens > 0 ? 1 : 0) }

    /// The first block that a query at `position` reads in the sliding layers; 0 where there are none.
    public func firstSlidingBlock(for position: Int) -> Int {
        Self.firstKey(for: position, window: window) / Self.pageTokens
    }

    /// The first position that a query at `position` sees through a window; without one, all are seen.
    static func firstKey(for position: Int, window: Int?) -> Int { window.map { max(0, position - $0 + 1) } ?? 0 }
}
