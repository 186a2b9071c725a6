import Checkpoints

/// The keys and values of one sequence that keeps everything, in a pool of its own with room for as many positions as
/// the model knows; only what is used takes memory. For scoring and tests: an engine shares one pool among sequences.
public final class KVCache {
    /// Positions in the segments so far, and so the position of the next token.
    public private(set) var count = 0

    private let pool: KVPool
    private var pages = KVPages()
    private let maxPositions: Int

    init(layout: KVLayout, maxPositions: Int) throws(ModelError) {
        let kinds = (layout.hasFullLayers ? 1 : 0) + (layout.window == nil ? 0 : 1)
        pool = try KVPool(layout: layout, pageCount: kinds * KVLayout.blocks(positions: maxPositions))
        self.maxPositions = maxPositions
    }

    /// The next tokens, at most as many as the model has positions left.
    public func segment(_ tokens: [Int32], logits: LogitsSelection) -> Segment {
        precondition(tokens.count <= maxPositions - count, "a sequence has at most \(maxPositions) positions")
        let position = count
        count += tokens.count
        for _ in max(pages.full.count, pages.sliding.count)..<KVLayout.blocks(positions: count) {
            if pool.layout.hasFullLayers { pages.full.append(nextPage) }
            if pool.layout.window != nil { pages.sliding.append(nextPage) }
        }
        return Segment(pool: pool, pages: pages, position: position, tokens: tokens, logits: logits)
    }

    private var nextPage: UInt32 { UInt32(pages.full.count + pages.sliding.count) }
}

extension Transformer {
    /// An empty cache for one sequence of this model.
    /// - Throws: ``ModelError`` where the address space cannot be had.
    public func makeCache(format: KVFormat? = nil) throws(ModelError) -> KVCache {
        try KVCache(layout: kvLayout(format: format), maxPositions: config.maxPositions)
    }
}
