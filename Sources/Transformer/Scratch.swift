/// Memory aligned for vector loads, owned by one object. Elements are trivial types and begin as zero bytes.
package final class Scratch<Element: BitwiseCopyable> {
    package private(set) var base: UnsafeMutablePointer<Element>
    package private(set) var count: Int

    package init(count: Int = 0) {
        self.count = count
        base = Self.allocate(count)
    }

    deinit { base.deallocate() }

    /// Makes room for `count` elements; what was held is lost when the memory must grow.
    package func reserve(_ count: Int) {
        guard count > self.count else { return }
        base.deallocate()
        base = Self.allocate(count)
        self.count = count
    }

    private static func allocate(_ count: Int) -> UnsafeMutablePointer<Element> {
        let bytes = max(1, count) * MemoryLayout<Element>.stride
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        return memory.assumingMemoryBound(to: Element.self)
    }
}
