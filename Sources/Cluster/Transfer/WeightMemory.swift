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

    /// Bytes of one of Linux's large pages on x86; where they are larger there is none in an expert.
    private static let largePage = 1 << 21

    /// Zeroes, in no file.
    /// - Throws: ``ClusterError`` when the machine does not have them.
    init(count: Int) throws {
        let reserved = count + Self.largePage
        guard let start = mmap(nil, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else {
            throw ClusterError(
                "no \(count) bytes for another expert: \(systemError()); start this worker with less --memory")
        }
        // What lies before the first large page, and behind the expert, goes back.
        let before = -Int(bitPattern: start) & (Self.largePage - 1)
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let end = before + (count + page - 1) / page * page
        munmap(start, before)
        munmap(start + end, reserved - end)
        mapping = UnsafeMutableRawBufferPointer(start: start + before, count: count)
        bytes = mapping
        self.start = UnsafeRawPointer(start + before)
        // Large pages are zeroed sooner, and spare looking up addresses whenever the expert computes.
        madvise(bytes.baseAddress, count, MADV_HUGEPAGE)
        // The system zeroes them ahead of the chunks, and beside them. Linux before 5.14 leaves it to whoever writes there
        // first.
        _ = BackgroundThread("cluster-memory") { [self] in madvise(bytes.baseAddress, count, MADV_POPULATE_WRITE) }
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
