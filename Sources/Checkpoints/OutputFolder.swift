internal import Foundation
internal import JSON

/// The folder of a checkpoint that is being written. A file named `synthesis.partial`, locked by the writer, stands in
/// it from the first byte to the last.
final class OutputFolder: Sendable {
    private let directory: URL
    private let lock: Int32

    private static let mark = "synthesis.partial"

    /// Creates the folder and takes possession of it, or refuses.
    init(_ directory: URL) throws {
        self.directory = directory
        let names: [String]
        do {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        } catch {
            throw CheckpointError("\(directory.path): cannot create the folder: \(systemReason(error))")
        }
        guard names.isEmpty || names.contains(Self.mark) else {
            throw CheckpointError(
                "\(directory.path): found \(names.count) files, expected an empty folder; choose another")
        }
        lock = open(directory.appending(path: Self.mark).path, O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
        guard lock >= 0 else { throw CheckpointError("\(directory.path): cannot write: \(systemError())") }
        var status = stat()
        // A mark without a name is that of a writer who finished just now.
        guard flock(lock, LOCK_EX | LOCK_NB) == 0, fstat(lock, &status) == 0, status.st_nlink > 0 else {
            close(lock)
            throw CheckpointError("\(directory.path): another process is writing a checkpoint there")
        }
        removeCheckpoint()
    }

    deinit { close(lock) }

    /// Finds out now, and not minutes later, that the disk is too small.
    func checkRoom(for bytes: Int) throws {
        var status = statvfs()
        guard statvfs(directory.path, &status) == 0 else { return }
        let (room, overflow) = UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize))
        guard overflow || room >= bytes else {
            throw CheckpointError(
                "\(directory.path): found room for \(room) bytes, expected \(bytes) and a little more")
        }
    }

    func url(_ name: String) -> URL { directory.appending(path: name) }

    func write(_ value: JSONValue, to name: String) throws {
        do {
            // Written beside and renamed: there, and whole, or not there.
            try Data((value.prettySerialized + "\n").utf8).write(to: url(name), options: .atomic)
        } catch {
            throw CheckpointError("\(url(name).path): cannot write: \(systemReason(error))")
        }
    }

    /// Removes an earlier checkpoint: first what makes it one, then the rest.
    func removeCheckpoint() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []
        let fixed = ["config.json", "generation_config.json", "tokenizer.json", CheckpointFiles.indexName]
        for name in fixed + names.filter({ $0.hasPrefix("model") && $0.hasSuffix(".safetensors") }) {
            try? FileManager.default.removeItem(at: url(name))
        }
    }

    /// Gives up possession: the checkpoint is complete, or removed.
    func release() { try? FileManager.default.removeItem(at: url(Self.mark)) }
}
