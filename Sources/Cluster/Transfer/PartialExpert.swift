/// An expert on its way: in memory, and beside it in a file as long as that can be written.
///
/// Sendable because loads, which alone use it, follow one another.
final class PartialExpert: @unchecked Sendable {
    let memory: WeightMemory
    private let chunks: Chunks
    private(set) var file: PartialFile?
    /// Those that may be here already, from an earlier attempt.
    private var candidates: Set<Int> = []

    /// - Throws: ``ClusterError`` when there is no memory for it.
    init(chunks: Chunks, file: PartialFile?) throws {
        memory = try WeightMemory(count: chunks.expertBytes)
        self.chunks = chunks
        self.file = file
        guard let file, file.leftBehind > 0 else { return }
        for index in 0..<chunks.count {
            let range = chunks.range(index)
            guard range.upperBound <= file.leftBehind,
                CacheFile.read(
                    file.descriptor, at: CacheFile.headerBytes + range.lowerBound,
                    into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[range]))
            else { break }
            candidates.insert(index)
        }
    }

    /// The chunks that are here and have these digests.
    func resume(_ digests: [ChunkDigest]) -> Set<Int> {
        candidates = candidates.filter { index in
            Chunks.digest(UnsafeRawBufferPointer(rebasing: memory.bytes[chunks.range(index)])) == digests[index]
        }
        return candidates
    }

    /// Takes a chunk that is right. A file that cannot be written is given up.
    func keep(_ index: Int, _ bytes: UnsafeRawBufferPointer) {
        let range = chunks.range(index)
        UnsafeMutableRawBufferPointer(rebasing: memory.bytes[range]).copyMemory(from: bytes)
        candidates.insert(index)
        guard let file, !CacheFile.write(file.descriptor, at: CacheFile.headerBytes + range.lowerBound, bytes) else {
            return
        }
        file.discard()
        self.file = nil
    }
}
