import Foundation

/// Pages of this process that hold one expert: its own, or those of a file in the page cache.
///
/// Sendable because the memory is written only by whoever made it, before anyone else is given it.
final class WeightMemory: @unchecked Sendable {
    /// The expert.
    let bytes: UnsafeMutableRawBufferPointer
    /// Where it begins.
    let start: UnsafeRawPointer
    private let mapping: UnsafeMutableRawBufferPointer

    /// Zeroes, in no file.
    /// - Throws: ``ClusterError`` when the machine does not have them.
    init(count: Int) throws {
        guard let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else {
            throw ClusterError(
                "no \(count) bytes for another expert: \(systemError()); start this worker with less --memory")
        }
        mapping = UnsafeMutableRawBufferPointer(start: start, count: count)
        bytes = mapping
        self.start = UnsafeRawPointer(start)
        // The system zeroes pages about as fast as they are hashed: it does so ahead of the chunks, and beside them. Linux
        // before 5.14 leaves it to whoever writes there first.
        _ = BackgroundThread("cluster-memory") { [self] in madvise(mapping.baseAddress, count, MADV_POPULATE_WRITE) }
    }

    /// What a file holds behind `offset`, which is a multiple of the page size; not to be written. Nil when it cannot be
    /// mapped.
    init?(descriptor: Int32, offset: Int, count: Int) {
        guard let start = mmap(nil, offset + count, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0),
            start != MAP_FAILED
        else { return nil }
        mapping = UnsafeMutableRawBufferPointer(start: start, count: offset + count)
        bytes = UnsafeMutableRawBufferPointer(rebasing: mapping[offset...])
        self.start = UnsafeRawPointer(start + offset)
    }

    deinit { munmap(mapping.baseAddress, mapping.count) }
}

/// What `errno` says, in words.
func systemError() -> String { String(cString: strerror(errno)) }
