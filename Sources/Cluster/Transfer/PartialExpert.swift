import Checkpoints

/// An expert on its way: in a file of the cache as long as that can be written, else in memory.
///
/// Sendable because loads, which alone use it, follow one another.
final class PartialExpert: @unchecked Sendable {
    private enum Place { case file(PartialFile), memory(WeightMemory) }

    private let chunks: Chunks
    private var place: Place
    /// Those that are here, or before the first ``resume(_:)`` may be, from an earlier attempt.
    private var kept: Set<Int> = []
    /// Of all chunks; none before the first ``resume(_:)``.
    private var digests: [ChunkDigest] = []

    /// - Throws: ``ClusterError`` when there is no memory for it.
    init(chunks: Chunks, file: PartialFile?) throws {
        self.chunks = chunks
        place = try file.map(Place.file) ?? .memory(WeightMemory(count: chunks.expertBytes))
        if let file { kept = Set((0..<chunks.count).filter { chunks.range($0).upperBound <= file.leftBehind }) }
    }

    /// The chunks that are here and have these digests.
    func resume(_ digests: [ChunkDigest]) -> Set<Int> {
        self.digests = digests
        kept = kept.filter { index in
            switch place {
            case .file(let file): CacheFile.digest(file.descriptor, chunks.range(index)) == digests[index]
            case .memory(let memory): SHA256.ofLeaves(UnsafeRawBufferPointer(part(index, of: memory))) == digests[index]
            }
        }
        return kept
    }

    /// Takes a chunk that is right. A file that cannot be written is given up.
    /// - Throws: ``ClusterError`` when there is no memory in its place.
    func keep(_ index: Int, _ bytes: UnsafeRawBufferPointer) throws {
        let offset = CacheFile.offset(chunks.range(index))
        if case .file(let file) = place, !CacheFile.write(file.descriptor, at: offset, bytes) {
            file.discard()
            try moveToMemory(from: file)
        }
        if case .memory(let memory) = place { part(index, of: memory).copyMemory(from: bytes) }
        kept.insert(index)
    }

    /// All of it: its file as `map` maps it, or else its memory.
    /// - Throws: ``ClusterError`` when there is neither.
    func whole(_ map: (PartialFile) -> WeightMemory?) throws -> WeightMemory {
        switch place {
        case .memory(let memory): return memory
        case .file(let file): return try map(file) ?? moveToMemory(from: file)
        }
    }

    /// A file that could not be written is not trusted: what it gives is checked.
    /// - Throws: ``ClusterError`` when there is none, or the file does not give every chunk; those are to be fetched again.
    @discardableResult private func moveToMemory(from file: PartialFile) throws -> WeightMemory {
        let memory = try WeightMemory(count: chunks.expertBytes)
        place = .memory(memory)
        let wanted = kept.count
        kept = kept.filter { index in
            let bytes = part(index, of: memory)
            let offset = CacheFile.offset(chunks.range(index))
            return index < digests.count && CacheFile.read(file.descriptor, at: offset, into: bytes)
                && SHA256.ofLeaves(UnsafeRawBufferPointer(bytes)) == digests[index]
        }
        guard kept.count == wanted else {
            throw ClusterError(
                "\(file.path) cannot be written, and does not give what was written before; choose another --cache")
        }
        return memory
    }

    private func part(_ index: Int, of memory: WeightMemory) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory.bytes[chunks.range(index)])
    }
}
