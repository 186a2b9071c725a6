/// How many pages sequences need. Full-attention layers keep a page for each block of tokens; sliding-window layers only
/// those that the next queries still see.
package struct PageGeometry: Equatable, Sendable {
    /// Tokens in a block.
    package var pageTokens: Int
    package var hasFullLayers: Bool
    /// Keys that a query of a sliding-window layer sees, itself included; nil: no such layers.
    package var window: Int?
    /// The most tokens that one step adds to a sequence.
    package var chunkTokens: Int

    package init(pageTokens: Int, hasFullLayers: Bool, window: Int?, chunkTokens: Int) {
        self.pageTokens = pageTokens
        self.hasFullLayers = hasFullLayers
        self.window = window
        self.chunkTokens = chunkTokens
    }

    /// Kinds of pages: what one more block takes at most.
    var kinds: Int { (hasFullLayers ? 1 : 0) + (window == nil ? 0 : 1) }

    /// Blocks that `tokens` tokens fill or begin.
    func blocks(_ tokens: Int) -> Int { (tokens + pageTokens - 1) / pageTokens }

    /// The first block that a query of a sliding-window layer at `position` sees.
    func firstBlock(at position: Int) -> Int { window.map { max(0, position - $0 + 1) / pageTokens } ?? 0 }

    /// Blocks that sliding-window layers hold at most in the middle of a step that adds `tokens` tokens.
    private func slidingBlocks(adding tokens: Int) -> Int { window.map { blocks($0 - 1 + tokens) + 1 } ?? 0 }

    /// The most pages that a sequence holds at a time on its way from `computed` tokens to `tokens`.
    package func pages(forTokens tokens: Int, from computed: Int = 0) -> Int {
        let blocks = blocks(tokens)
        return (hasFullLayers ? blocks : 0) + min(blocks, slidingBlocks(adding: min(chunkTokens, tokens - computed)))
    }

    /// The longest sequence that `pages` pages can hold.
    package func tokens(inPages pages: Int) -> Int {
        // Within the window a block takes a page of each kind; beyond it, of full layers alone.
        let sliding = slidingBlocks(adding: chunkTokens)
        guard hasFullLayers else { return pages >= sliding ? .max : pages * pageTokens }
        return max(pages / kinds, pages - sliding) * pageTokens
    }
}
