import Checkpoints
public import Foundation
import Synchronization

/// A folder of experts that were brought here, so that the next start need not. Several processes may use one.
///
/// It helps and never hinders: what cannot be written is held in memory alone. A file gets its name only when it is whole,
/// is checked whenever it is opened, and the one that was opened the longest ago goes first when there is no room.
public final class WeightCache: Sendable {
    private let directory: URL
    private let limit: Int
    private let log: Log
    /// The paths of what this process uses.
    private let used = Mutex<Set<String>>([])
    private let hasComplained = Mutex(false)

    /// - Parameters:
    ///   - directory: made where it does not exist.
    ///   - limit: bytes that all files in it may have together; nil for no limit.
    /// - Throws: ``ClusterError`` when there can be no such folder.
    public init(directory: URL, limit: Int?, log: Log) throws {
        self.directory = directory
        self.limit = limit ?? .max
        self.log = log
        do { try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true) } catch {
            throw ClusterError(
                "\(directory.path) cannot be a folder for a cache: \(systemReason(error)); choose another --cache"
            )
        }
        // Writing beyond what this process may write is an error like a full disk, and not the end.
        signal(SIGXFSZ, SIG_IGN)
    }

    /// The expert, mapped; nil when it is not here, or was damaged or of another version and is now removed.
    func open(_ file: CacheFile) -> WeightMemory? {
        let path = directory.appending(path: file.path).path
        let descriptor = Foundation.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard file.isIntact(descriptor) else {
            log(
                .warning, "a file of the cache is damaged, or of another version; the expert is fetched again",
                [("file", path)])
            unlink(path)
            return nil
        }
        // The time of the last use, by which the oldest is known.
        utimensat(AT_FDCWD, path, nil, 0)
        return map(file, descriptor)
    }

    /// A file for an expert that is to come, with what an earlier attempt left in it; nil when the cache cannot hold it
    /// or another process is at it.
    func begin(_ file: CacheFile) -> PartialFile? {
        let final = directory.appending(path: file.path)
        let path = final.path + ".partial"
        try? FileManager.default.createDirectory(
            at: final.deletingLastPathComponent(), withIntermediateDirectories: true)
        let descriptor = Foundation.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        var status = stat()
        guard descriptor >= 0 else { return complain(systemError()) }
        // One without a name is that of a process that has just made it whole, or given it up.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &status) == 0, status.st_nlink > 0 else {
            close(descriptor)
            return nil
        }
        guard makeRoom(for: file.byteCount - Int(status.st_size)) else {
            unlink(path)
            close(descriptor)
            return complain("what is in use leaves no room within --cache-size")
        }
        let partial = PartialFile(
            descriptor: descriptor, path: path, leftBehind: max(0, Int(status.st_size) - CacheFile.headerBytes))
        // All of the room now, so that a full disk shows before anything is fetched for it.
        let code = posix_fallocate(descriptor, 0, off_t(file.byteCount))
        guard code == 0 else {
            partial.discard()
            return complain(String(cString: strerror(code)))
        }
        return partial
    }

    /// Gives a file that is whole its name, and maps it; nil when that cannot be.
    func finish(_ partial: PartialFile, _ file: CacheFile, _ digests: [ChunkDigest]) -> WeightMemory? {
        let path = directory.appending(path: file.path).path
        // No fsync: what a power failure leaves half-written is found out when it is opened.
        guard file.header(digests).withUnsafeBytes({ CacheFile.write(partial.descriptor, at: 0, $0) }),
            rename(partial.path, path) == 0
        else {
            let reason = systemError()
            partial.discard()
            return complain(reason)
        }
        return map(file, partial.descriptor)
    }

    /// This process does not use the expert any more.
    func release(_ file: CacheFile) { used.withLock { _ = $0.remove(file.path) } }

    private func map(_ file: CacheFile, _ descriptor: Int32) -> WeightMemory? {
        let memory = WeightMemory(
            descriptor: descriptor, offset: CacheFile.headerBytes, count: file.chunks.expertBytes)
        if memory != nil { used.withLock { _ = $0.insert(file.path) } }
        return memory
    }

    /// Says once why experts are in memory alone.
    private func complain<Value>(_ reason: String) -> Value? {
        let isFirst = hasComplained.withLock { has in
            defer { has = true }
            return !has
        }
        if isFirst {
            log(
                .warning, "the cache takes no more; experts are held in memory alone",
                [("folder", directory.path), ("reason", reason)])
        }
        return nil
    }

    /// Removes what was used the longest ago until `bytes` more have room.
    private func makeRoom(for bytes: Int) -> Bool {
        guard limit < .max, bytes > 0 else { return true }
        var files = self.files()
        var total = files.reduce(0) { $0 + $1.size }
        let used = used.withLock { $0 }
        files.sort { ($0.seconds, $0.nanoseconds, $0.path) > ($1.seconds, $1.nanoseconds, $1.path) }
        while total + bytes > limit {
            guard let oldest = files.popLast() else { return false }
            guard !used.contains(oldest.path) else { continue }
            if Self.remove(directory.appending(path: oldest.path).path) { total -= oldest.size }
        }
        return true
    }

    /// False for a file that some process is writing.
    private static func remove(_ path: String) -> Bool {
        let descriptor = Foundation.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0 && unlink(path) == 0
    }

    private typealias File = (path: String, size: Int, seconds: Int, nanoseconds: Int)

    private func files() -> [File] {
        let manager = FileManager.default
        let folders = (try? manager.contentsOfDirectory(atPath: directory.path)) ?? []
        return folders.flatMap { folder -> [File] in
            let names = (try? manager.contentsOfDirectory(atPath: directory.appending(path: folder).path)) ?? []
            return names.compactMap { name -> File? in
                guard name.hasSuffix(".expert") || name.hasSuffix(".expert.partial") else { return nil }
                var status = stat()
                let path = "\(folder)/\(name)"
                guard stat(directory.appending(path: path).path, &status) == 0 else { return nil }
                return (path, Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
            }
        }
    }
}

/// A file of the cache that is not whole yet, locked.
final class PartialFile {
    let descriptor: Int32
    let path: String
    /// Bytes of the expert that an earlier attempt may have written, or some of them.
    let leftBehind: Int

    fileprivate init(descriptor: Int32, path: String, leftBehind: Int) {
        self.descriptor = descriptor
        self.path = path
        self.leftBehind = leftBehind
    }

    deinit { close(descriptor) }

    func discard() { unlink(path) }
}
