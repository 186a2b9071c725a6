import Checkpoints
import Foundation

/// The file of one expert in a cache: a page that says what it is, and then its tensors.
///
/// The page holds no pointer or size to be trusted: it is compared, byte for byte, with the one that the tensors' own
/// bytes call for. So a file that was cut, changed or mixed up is found out, whatever happened to it.
struct CacheFile {
    static let headerBytes = 4096
    /// The header's first line; another where what follows means something else.
    private static let kind = "shoal expert 2"

    let checkpoint: [UInt8]
    let expert: ExpertID
    let chunks: Chunks

    /// Its name within the cache.
    var path: String { "\(hexadecimal(checkpoint))/\(expert.layer)-\(expert.expert).expert" }

    var byteCount: Int { Self.headerBytes + chunks.expertBytes }

    /// Where a chunk is in the file.
    static func offset(_ chunk: Range<Int>) -> Int { headerBytes + chunk.lowerBound }

    /// The first page of a file with chunks of these digests.
    func header(_ digests: [ChunkDigest]) -> [UInt8] {
        var digest = SHA256()
        for chunk in digests { chunk.withUnsafeBytes { digest.update($0) } }
        let text = """
            \(Self.kind)
            checkpoint \(hexadecimal(checkpoint))
            layer \(expert.layer)
            expert \(expert.expert)
            bytes \(chunks.expertBytes)
            sha256 of chunks of \(Chunks.size) bytes in leaves of \(SHA256.leafBytes) \(hexadecimal(digest.finish()))

            """
        return Array(text.utf8) + [UInt8](repeating: 0, count: Self.headerBytes - text.utf8.count)
    }

    /// Whether an open file is whole, intact, and of this kind. Reads rather than maps, so that a file that is cut short
    /// meanwhile is found out, and not a SIGBUS.
    func isIntact(_ descriptor: Int32) -> Bool {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size == byteCount,
            let header = Self.header(of: descriptor), header.starts(with: Self.kind.utf8)
        else { return false }
        var digests: [ChunkDigest] = []
        for index in 0..<chunks.count {
            guard let digest = Self.digest(descriptor, chunks.range(index)) else { return false }
            digests.append(digest)
        }
        return header == self.header(digests)
    }

    /// Of a chunk; nil when it cannot be read.
    static func digest(_ descriptor: Int32, _ chunk: Range<Int>) -> ChunkDigest? {
        withUnsafeTemporaryAllocation(byteCount: chunk.count, alignment: 64) {
            read(descriptor, at: offset(chunk), into: $0)
                ? SHA256.ofLeaves(UnsafeRawBufferPointer($0)) : nil
        }
    }

    private static func header(of descriptor: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: headerBytes)
        return bytes.withUnsafeMutableBytes { read(descriptor, at: 0, into: $0) } ? bytes : nil
    }

    /// False when the file ends before, or cannot be read.
    static func read(_ descriptor: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    /// False when the disk is full, or cannot be written.
    static func write(_ descriptor: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}
