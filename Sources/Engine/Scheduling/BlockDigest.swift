import Checkpoints

/// Names a block of tokens together with everything before it: SHA-256 over the digest of the block before it and the
/// block's own tokens, so that equal digests mean equal keys and values. A collision would be a wrong token, and
/// tenants choose their prompts: a hash that can be forged will not do.
package struct BlockDigest: Hashable, Sendable {
    private var words: SIMD4<UInt64>

    /// What the first block of a sequence has before it: sequences with different salts share nothing.
    package init(salt: String) { self.init(tag: 0) { $0.update(salt) } }

    /// The block that follows `previous`.
    package init(after previous: BlockDigest, tokens: ArraySlice<Int32>) {
        self.init(tag: 1) { hash in
            withUnsafeBytes(of: previous.words) { hash.update($0) }
            tokens.withUnsafeBytes { hash.update($0) }
        }
    }

    /// The tag keeps a salt from passing for a block.
    private init(tag: UInt8, _ update: (inout SHA256) -> Void) {
        var hash = SHA256()
        withUnsafeBytes(of: tag) { hash.update($0) }
        update(&hash)
        words = hash.finish().withUnsafeBytes { $0.loadUnaligned(as: SIMD4<UInt64>.self) }
    }
}
