/// Which layers' keys and values a page holds.
package enum PageKind: Hashable, Sendable { case full, sliding }

/// What a page can be found by.
package struct PageKey: Hashable, Sendable {
    package var kind: PageKind
    package var digest: BlockDigest

    package init(_ kind: PageKind, _ digest: BlockDigest) {
        self.kind = kind
        self.digest = digest
    }
}

/// The pages of the KV memory: how many sequences use each, and which of them a later request may find.
///
/// A page that no sequence uses is free, even while it can be found. Free pages stand in one list in the order in which
/// they are taken: those that nothing is to be found in first, then the least recently used.
package struct PagePool {
    private struct Page {
        var users = 0
        var key: PageKey?
        // Neighbours in the list of free pages.
        var previous = 0
        var next = 0
    }

    /// One page more than there are: the last closes the list of free pages to a ring.
    private var pages: [Page]
    private var found: [PageKey: Int] = [:]
    /// Pages that no sequence uses.
    package private(set) var freeCount: Int

    private var end: Int { pages.count - 1 }

    package init(pageCount: Int) {
        pages = (0...pageCount).map { index in
            Page(previous: index == 0 ? pageCount : index - 1, next: index == pageCount ? 0 : index + 1)
        }
        freeCount = pageCount
    }

    /// All pages.
    package var pageCount: Int { pages.count - 1 }
    /// Pages that can be found, in use or free.
    package var findableCount: Int { found.count }

    /// How many sequences use a page.
    package func users(of page: UInt32) -> Int { pages[Int(page)].users }

    package func contains(_ key: PageKey) -> Bool { found[key] != nil }

    /// A free page for one sequence to write, which can no longer be found; nil when there is none.
    package mutating func take() -> UInt32? {
        let page = pages[end].next
        guard page != end else { return nil }
        if let key = pages[page].key { found[key] = nil }
        pages[page].key = nil
        use(page)
        return UInt32(page)
    }

    /// The page with `key`, for one more sequence to read; nil when there is none.
    package mutating func share(_ key: PageKey) -> UInt32? {
        guard let page = found[key] else { return nil }
        use(page)
        return UInt32(page)
    }

    /// Ends one sequence's use of a page.
    package mutating func release(_ page: UInt32) {
        let page = Int(page)
        pages[page].users -= 1
        guard pages[page].users == 0 else { return }
        freeCount += 1
        let next = pages[page].key == nil ? pages[end].next : end
        let previous = pages[next].previous
        (pages[page].previous, pages[page].next) = (previous, next)
        pages[previous].next = page
        pages[next].previous = page
    }

    /// Lets a page that is written and will not change be found. Where another page has the key already, that one stays.
    package mutating func publish(_ page: UInt32, as key: PageKey) {
        guard found[key] == nil, pages[Int(page)].key == nil else { return }
        found[key] = Int(page)
        pages[Int(page)].key = key
    }

    private mutating func use(_ page: Int) {
        if pages[page].users == 0 {
            freeCount -= 1
            let (previous, next) = (pages[page].previous, pages[page].next)
            pages[previous].next = next
            pages[next].previous = previous
        }
        pages[page].users += 1
    }
}
