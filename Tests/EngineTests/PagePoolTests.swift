import Engine
import TestSupport
import Testing

/// Pages in use, free, and found again.
@Suite struct PagePoolTests {
    private func key(_ number: Int, _ kind: PageKind = .full) -> PageKey {
        PageKey(kind, BlockDigest(salt: "\(number)"))
    }

    @Test("every page is given once, and again when it was released")
    func taking() {
        var pool = PagePool(pageCount: 3)
        let pages = (0..<3).compactMap { _ in pool.take() }
        #expect(Set(pages) == [0, 1, 2] && pool.take() == nil && pool.freeCount == 0)
        pool.release(pages[1])
        #expect(pool.freeCount == 1 && pool.take() == pages[1])
    }

    @Test("a published page is found while it is used and while it is free, until it is taken for another block")
    func finding() throws {
        var pool = PagePool(pageCount: 2)
        let taken = pool.take()
        let page = try #require(taken)
        pool.publish(page, as: key(1))
        #expect(pool.share(key(1)) == page && pool.users(of: page) == 2)
        #expect(pool.share(key(1, .sliding)) == nil && pool.share(key(2)) == nil)
        pool.release(page)
        pool.release(page)
        #expect(pool.freeCount == 2 && pool.contains(key(1)))
        #expect(pool.share(key(1)) == page && pool.freeCount == 1)
        pool.release(page)

        #expect(pool.take() != page, "pages without content are taken first")
        #expect(pool.take() == page)
        #expect(!pool.contains(key(1)) && pool.findableCount == 0)
    }

    @Test("of the pages with content the least recently used is taken first")
    func leastRecentlyUsed() throws {
        var pool = PagePool(pageCount: 3)
        let pages = (0..<3).compactMap { _ in pool.take() }
        for (number, page) in pages.enumerated() { pool.publish(page, as: key(number)) }
        for page in pages { pool.release(page) }
        let shared = pool.share(key(0))
        pool.release(try #require(shared))
        #expect((0..<3).map { _ in pool.take() } == [pages[1], pages[2], pages[0]])
    }

    @Test("of two pages with the same block the first is found, and the other is free without content")
    func duplicates() throws {
        var pool = PagePool(pageCount: 2)
        let pages = (0..<2).compactMap { _ in pool.take() }
        let (first, second) = (try #require(pages.first), try #require(pages.last))
        pool.publish(first, as: key(1))
        pool.publish(second, as: key(1))
        pool.release(first)
        pool.release(second)
        #expect(pool.take() == second && pool.share(key(1)) == first)
    }

    @Test("a block's digest depends on its tokens, on every block before it, and on the salt")
    func digests() {
        func digest(_ salt: String, _ blocks: [Int32]...) -> BlockDigest {
            blocks.reduce(BlockDigest(salt: salt)) { BlockDigest(after: $0, tokens: $1[...]) }
        }
        let digests = [
            digest("", [1, 2], [3, 4]), digest("", [1, 2], [3, 5]), digest("", [1, 1], [3, 4]), digest("", [3, 4]),
            digest("a", [1, 2], [3, 4]), digest("", [1, 2, 3, 4]), digest("", [3, 4], [1, 2]),
        ]
        #expect(Set(digests).count == digests.count)
        #expect(digest("a", [1, 2], [3, 4]) == digests[4])
    }
}

/// How many pages sequences need.
@Suite struct PageGeometryTests {
    @Test("as many tokens fit into pages as they are said to need", arguments: [(true, 6), (true, nil), (false, 6)])
    func inverse(hasFullLayers: Bool, window: Int?) {
        let geometry = PageGeometry(pageTokens: 4, hasFullLayers: hasFullLayers, window: window, chunkTokens: 9)
        for pages in 0...60 {
            let tokens = geometry.tokens(inPages: pages)
            #expect(geometry.pages(forTokens: min(tokens, 10_000)) <= pages)
            if tokens < 10_000 { #expect(geometry.pages(forTokens: tokens + 1) > pages) }
        }
    }

    @Test("a sliding window adds a constant to a long context")
    func window() {
        let geometry = PageGeometry(pageTokens: 32, hasFullLayers: true, window: 128, chunkTokens: 256)
        #expect(geometry.pages(forTokens: 131_072) == 4096 + 13)
    }
}
