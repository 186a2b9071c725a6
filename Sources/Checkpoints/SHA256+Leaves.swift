/// Hashing of which the parts do not wait for each other.
extension SHA256 {
    /// Bytes of a leaf: a 128 KiB chunk has one for each of the sixteen that 512-bit registers hash at once.
    /// intel-ipsec-mb takes no more than 65,535.
    package static let leafBytes = 8192

    /// The SHA-256 of the SHA-256s of `bytes` cut into leaves, the last one shorter.
    package static func ofLeaves(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var hash = SHA256()
        (sideBySide(bytes) ?? oneByOne(bytes)).withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }

    package static func oneByOne(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        leaves(bytes).flatMap { leaf in
            var hash = SHA256()
            hash.update(leaf)
            return hash.finish()
        }
    }

    fileprivate static func leaves(_ bytes: UnsafeRawBufferPointer) -> some Sequence<UnsafeRawBufferPointer> {
        stride(from: 0, to: bytes.count, by: leafBytes).lazy.map {
            UnsafeRawBufferPointer(rebasing: bytes[$0..<min(bytes.count, $0 + leafBytes)])
        }
    }
}

#if arch(x86_64)
    internal import CIPSecMB
    private import Synchronization

    extension SHA256 {
        /// By intel-ipsec-mb, which has several hashed in the lanes of vector registers; nil where it cannot.
        package static func sideBySide(_ bytes: UnsafeRawBufferPointer) -> [UInt8]? {
            lanes.withLock { $0.digests(of: leaves(bytes), count: (bytes.count + leafBytes - 1) / leafBytes) }
        }

        private static let lanes = Mutex(Lanes())
    }

    /// Hashes what is submitted once there is enough of it, or when it is told that no more comes.
    private struct Lanes: ~Copyable, @unchecked Sendable {  // Nobody else has the manager.
        private let manager: UnsafeMutablePointer<IMB_MGR>?

        init() {
            let manager = alloc_mb_mgr(0)
            if let manager { init_mb_mgr_auto(manager, nil) }
            // It has tested itself.
            self.manager = imb_get_errno(manager) == 0 ? manager : nil
        }

        func digests(of leaves: some Sequence<UnsafeRawBufferPointer>, count: Int) -> [UInt8]? {
            guard let manager, let next = manager.pointee.get_next_job, let submit = manager.pointee.submit_job,
                let flush = manager.pointee.flush_job
            else { return nil }
            var completed = 0
            let digests = [UInt8](unsafeUninitializedCapacity: count * 32) { digests, filled in
                for (index, leaf) in leaves.enumerated() {
                    guard let job = next(manager), let digest = digests.baseAddress else { break }
                    job.pointee.src = leaf.bindMemory(to: UInt8.self).baseAddress
                    job.pointee.hash_start_src_offset_in_bytes = 0
                    job.pointee.msg_len_to_hash_in_bytes = UInt64(leaf.count)
                    job.pointee.auth_tag_output = digest + index * 32
                    job.pointee.auth_tag_output_len_in_bytes = 32
                    job.pointee.cipher_mode = IMB_CIPHER_NULL
                    job.pointee.cipher_direction = IMB_DIR_ENCRYPT
                    job.pointee.chain_order = IMB_ORDER_HASH_CIPHER
                    job.pointee.hash_alg = IMB_AUTH_SHA_256
                    if submit(manager)?.pointee.status == IMB_STATUS_COMPLETED { completed += 1 }
                }
                while let job = flush(manager) {
                    if job.pointee.status == IMB_STATUS_COMPLETED { completed += 1 }
                }
                filled = count * 32
            }
            return completed == count ? digests : nil
        }
    }
#else
    extension SHA256 {
        package static func sideBySide(_ bytes: UnsafeRawBufferPointer) -> [UInt8]? { nil }
    }
#endif
