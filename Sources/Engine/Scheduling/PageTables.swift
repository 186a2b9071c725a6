import Transformer

/// Gives pages to sequences, and finds again what earlier ones computed.
package struct PageTables {
    let geometry: PageGeometry
    package private(set) var pool: PagePool

    package init(geometry: PageGeometry, pageCount: Int) {
        self.geometry = geometry
        pool = PagePool(pageCount: pageCount)
    }

    /// Pages that are missing for `tokens` tokens.
    private func missing(_ pages: KVPages, tokens: Int) -> Int {
        let blocks = geometry.blocks(tokens)
        return (geometry.hasFullLayers ? max(0, blocks - pages.full.count) : 0)
            + (geometry.window == nil ? 0 : max(0, blocks - pages.sliding.count))
    }

    /// Gives a sequence the pages for `tokens` tokens in all; false, and nothing, when there are not enough.
    mutating func extend(_ pages: inout KVPages, to tokens: Int) -> Bool {
        guard missing(pages, tokens: tokens) <= pool.freeCount else { return false }
        let blocks = geometry.blocks(tokens)
        while geometry.hasFullLayers, pages.full.count < blocks, let page = pool.take() { pages.full.append(page) }
        while geometry.window != nil, pages.sliding.count < blocks, let page = pool.take() {
            pages.sliding.append(page)
        }
        return true
    }

    /// The most tokens, up to `tokens`, that a sequence can have with the pages that are free.
    func reach(_ pages: KVPages, tokens: Int) -> Int {
        var blocks = geometry.blocks(tokens)
        // Each block less is a page of each kind less, so this looks at few.
        while missing(pages, tokens: blocks * geometry.pageTokens) > pool.freeCount { blocks -= 1 }
        return min(tokens, blocks * geometry.pageTokens)
    }

    /// Ends the use of pages that no query from `position` on sees.
    mutating func releaseBehindWindow(_ pages: inout KVPages, at position: Int) {
        var block = min(geometry.firstBlock(at: position), pages.sliding.count) - 1
        while block >= 0, pages.sliding[block] != KVPages.none {
            pool.release(pages.sliding[block])
            pages.sliding[block] = KVPages.none
            block -= 1
        }
    }

    /// Ends the use of all pages. The last block goes first, so that what many sequences begin with is kept longest.
    mutating func release(_ pages: inout KVPages) {
        for block in (0..<max(pages.full.count, pages.sliding.count)).reversed() {
            if block < pages.full.count { pool.release(pages.full[block]) }
            if block < pages.sliding.count, pages.sliding[block] != KVPages.none { pool.release(pages.sliding[block]) }
        }
        pages = KVPages(full: [], sliding: [])
    }

    /// Lets the blocks in `range`, which are computed, be found by their digests.
    mutating func publish(_ pages: KVPages, blocks range: Range<Int>, digests: [BlockDigest]) {
        for block in range where block < digests.count {
            if block < pages.full.count { pool.publish(pages.full[block], as: PageKey(.full, digests[block])) }
            if block < pages.sliding.count, pages.sliding[block] != KVPages.none {
                pool.publish(pages.sliding[block], as: PageKey(.sliding, digests[block]))
            }
        }
    }

    /// Lets a sequence of `start` blocks go on with what earlier ones computed, for as far as `digests` are found: in
    /// full layers every block, in sliding-window layers those that the next query sees.
    /// - Returns: The blocks that it has then.
    mutating func adopt(_ pages: inout KVPages, from start: Int, digests: ArraySlice<BlockDigest>) -> Int {
        var end = start
        var slidingRun = 0
        for block in start..<max(start, digests.count) {
            guard !geometry.hasFullLayers || pool.contains(PageKey(.full, digests[block])) else { break }
            slidingRun = pool.contains(PageKey(.sliding, digests[block])) ? slidingRun + 1 : 0
            let seen = max(start, geometry.firstBlock(at: (block + 1) * geometry.pageTokens))
            if geometry.window == nil || slidingRun >= block + 1 - seen { end = block + 1 }
        }
        let seen = geometry.firstBlock(at: end * geometry.pageTokens)
        // Its own first: behind a block that is not held they would not be found again.
        releaseBehindWindow(&pages, at: end * geometry.pageTokens)
        for block in start..<end {
            if geometry.hasFullLayers, let page = pool.share(PageKey(.full, digests[block])) { pages.full.append(page) }
            guard geometry.window != nil else { continue }
            pages.sliding.append(
                block < seen ? KVPages.none : pool.share(PageKey(.sliding, digests[block])) ?? KVPages.none)
        }
        return end
    }
}
