import Checkpoints

/// ``SHA256/ofLeaves(_:)`` of a chunk.
package typealias ChunkDigest = [UInt8]

/// How an expert is cut for the wire: every expert of a model in the same way.
package struct Chunks: Sendable, Equatable {
    /// Small enough that what shares the link with it waits for a millisecond at 1 Gbit/s.
    package static let size = 131_072

    package let expertBytes: Int

    package init(expertBytes: Int) { self.expertBytes = expertBytes }

    package init(of model: ModelIdentity) { self.init(expertBytes: model.bytesPerExpert) }

    package var count: Int { (expertBytes + Self.size - 1) / Self.size }

    /// Bytes of a manifest.
    package var manifestBytes: Int { count * 32 }

    /// The chunk's bytes of the expert. The index is below ``count``.
    package func range(_ index: Int) -> Range<Int> {
        index * Self.size..<min(expertBytes, (index + 1) * Self.size)
    }

    /// The digests in a manifest of ``manifestBytes``.
    package static func digests(_ manifest: UnsafeRawBufferPointer) -> [ChunkDigest] {
        stride(from: 0, to: manifest.count - 31, by: 32).map { Array(manifest[$0..<$0 + 32]) }
    }
}
