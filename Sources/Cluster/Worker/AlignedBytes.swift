/// Bytes aligned for any element and vector, whose memory grows and is kept.
struct AlignedBytes: ~Copyable {
    private var memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
    private var capacity = 64

    deinit { memory.deallocate() }

    /// Valid until the memory grows.
    var start: UnsafeMutableRawPointer { memory }

    /// Makes room for so many bytes, whose content is undefined.
    mutating func reserve(_ count: Int) {
        guard capacity < count else { return }
        memory.deallocate()
        memory = .allocate(byteCount: count, alignment: 64)
        capacity = count
    }

    mutating func copy(_ bytes: UnsafeRawBufferPointer) {
        reserve(bytes.count)
        UnsafeMutableRawBufferPointer(start: memory, count: capacity).copyMemory(from: bytes)
    }
}
