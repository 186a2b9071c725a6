// Imported for its library, which the generated code calls.
import CProtobufC
import ClusterProtocol

/// The memory into which headers are parsed: a fixed amount, so that no message can ask for more, and nothing to free.
/// One thread at a time.
package final class WireArena {
    private let memory: UnsafeMutableRawBufferPointer
    private var used = 0

    package init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: Self.alignment) }

    deinit { memory.deallocate() }

    private static let alignment = 16

    /// Calls `body` with an allocator of this memory; nothing it gave out may be kept.
    func withAllocator<Result>(
        _ body: (UnsafeMutablePointer<ProtobufCAllocator>) throws -> Result
    ) rethrows -> Result {
        used = 0
        var allocator = ProtobufCAllocator(
            alloc: { context, count in
                context.flatMap { Unmanaged<WireArena>.fromOpaque($0).takeUnretainedValue().take(count) }
            },
            free: { _, _ in },
            allocator_data: Unmanaged.passUnretained(self).toOpaque())
        return try body(&allocator)
    }

    private func take(_ count: Int) -> UnsafeMutableRawPointer? {
        guard count >= 0, count <= memory.count - used else { return nil }
        defer { used = min(memory.count, (used + count + Self.alignment - 1) & ~(Self.alignment - 1)) }
        return memory.baseAddress.map { $0 + used }
    }
}
