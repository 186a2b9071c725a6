internal import Foundation

extension MappedFile {
    /// The SHA-256 of the whole file: remembered, or computed and remembered. While another process computes it, waits
    /// for that process's result instead of reading the file a second time.
    /// - Parameter progress: called with the number of bytes hashed since the last call; may throw to stop.
    /// - Throws: ``CheckpointError`` when the file cannot be read, or is changed meanwhile.
    func digest(cache: DigestCache, progress: (Int) throws -> Void) throws -> [UInt8] {
        if let known = cache[identity] { return known }
        let isLocked = waitForLock(until: { cache[identity] != nil })
        defer { if isLocked { flock(descriptor, LOCK_UN) } }
        if let known = cache[identity] { return known }
        let digest = try computedDigest(progress: progress)
        cache.remember(digest, of: identity)
        return digest
    }

    /// The SHA-256 of the whole file, read afresh.
    ///
    /// Reads rather than touches the map, so that the file does not become resident memory of this process, and so that
    /// a file that became shorter is an error and not a SIGBUS.
    func computedDigest(progress: (Int) throws -> Void) throws -> [UInt8] {
        var hash = SHA256()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
        defer { posix_fadvise(descriptor, 0, 0, POSIX_FADV_NORMAL) }
        var position = 0
        while position < identity.size {
            let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(position))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw CheckpointError("\(name): cannot read at byte \(position): \(systemError())")
            }
            guard count > 0 else { throw changed }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            position += count
            try progress(count)
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, FileIdentity(status) == identity else { throw changed }
        return hash.finish()
    }

    private var changed: CheckpointError {
        CheckpointError("\(name): changed while it was read; wait until it is written, then start again")
    }

    /// Takes the advisory lock on the file itself, or gives up when `isDone`, or when whoever has it seems stuck, or
    /// where the file system has no such locks.
    private func waitForLock(until isDone: () -> Bool) -> Bool {
        let deadline = ContinuousClock.now + .seconds(120)
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, !isDone(), ContinuousClock.now < deadline else {
                return false
            }
            usleep(50_000)
        }
        return true
    }
}
