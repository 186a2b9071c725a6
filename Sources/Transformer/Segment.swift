import Checkpoints

/// Which positions of a segment the output head is applied to.
public enum LogitsSelection: Sendable { case none, last, all }

/// Consecutive tokens of one sequence, and where the sequence's keys and values lie. Ids are within the vocabulary.
/// Segments of a batch may read the same pages; the pages that one writes to are its own.
public struct Segment {
    /// Where the pages lie.
    public let pool: KVPool
    /// The pages of every position up to the last token, except that blocks of the sliding layers which lie wholly before
    /// the window of the first token may be ``KVPages/none``.
    public let pages: KVPages
    /// The first token's position: as many are held in the pages.
    public let position: Int
    /// At least one.
    public let tokens: [Int32]
    /// Which logits are wanted.
    public let logits: LogitsSelection

    /// A segment for a batch.
    public init(pool: KVPool, pages: KVPages, position: Int, tokens: [Int32], logits: LogitsSelection) {
        self.pool = pool
        self.pages = pages
        self.position = position
        self.tokens = tokens
        self.logits = logits
    }

    /// Refuses a segment whose forward pass would read or write outside its pool.
    /// - Throws: ``ModelError``.
    func check(_ config: ModelConfig) throws(ModelError) {
        let layout = pool.layout
        guard layout == KVLayout(config: config, format: layout.format) else {
            throw ModelError("a segment's pool was made for another model than the one that is to read it")
        }
        guard !tokens.isEmpty, (0...config.maxPositions).contains(position),
            tokens.count <= config.maxPositions - position
        else {
            throw ModelError(
                "a segment has \(tokens.count) tokens from position \(position) on; expected at least one, and "
                    + "none behind the model's \(config.maxPositions) positions")
        }
        let end = KVLayout.blocks(positions: position + tokens.count)
        if layout.hasFullLayers { try check(pages.full, 0..<end, "full") }
        if layout.window != nil { try check(pages.sliding, layout.firstSlidingBlock(for: position)..<end, "sliding") }
    }

    private func check(_ table: [UInt32], _ blocks: Range<Int>, _ kind: String) throws(ModelError) {
        guard table.count >= blocks.upperBound else {
            throw ModelError(
                "a segment has \(table.count) pages for the \(kind) layers; expected \(blocks.upperBound) for "
                    + "\(tokens.count) tokens from position \(position) on")
        }
        for block in blocks where table[block] >= pool.pageCount {
            let found = table[block] == KVPages.none ? "no page" : "page \(table[block])"
            throw ModelError(
                "a segment has \(found) for block \(block) of the \(kind) layers; expected one of the pool's "
                    + "\(pool.pageCount), because tokens from position \(position) on read it")
        }
    }
}
