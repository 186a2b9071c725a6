import Checkpoints
import Foundation

/// The public keys whose owners may join, with their names.
package struct AuthorizedKeys: Sendable, Equatable {
    private var names: [PublicKey: String] = [:]

    package var count: Int { names.count }

    package func contains(_ key: PublicKey) -> Bool { names[key] != nil }

    /// The keys of this set that are not in `other`, by name where they have one.
    func names(missingIn other: AuthorizedKeys) -> [String] {
        names.filter { !other.contains($0.key) }.map { $0.value.isEmpty ? $0.key.description : $0.value }.sorted()
    }

    package mutating func add(_ text: String, from path: String) throws {
        for (number, line) in try KeyFile.lines(of: text, path) {
            guard case .publicKey(let key, let name) = line else {
                throw ClusterError(
                    "'\(path)', line \(number) holds a private key, which is secret no more: make a new pair")
            }
            names[key] = name
        }
    }

    package init() {}
}

/// Where authorised keys lie: a file with one a line, or a folder of `*.pub` files.
public struct AuthorizedKeysPath: Sendable {
    /// As it was given.
    public let path: String

    /// What is there is read when a coordinator starts, and whenever it changes.
    public init(_ path: String) { self.path = path }

    /// - Throws: ``ClusterError`` where a file cannot be read, can be written by others, or has a line that is no
    ///   public key.
    package func read() throws -> AuthorizedKeys {
        var keys = AuthorizedKeys()
        for file in try files() {
            let (text, mode) = try KeyFile.read(file, orElse: "make it, empty while no worker has a key yet")
            guard mode & 0o022 == 0 else {
                throw ClusterError(
                    "'\(file)' can be written by others (mode \(KeyFile.octal(mode))), who could let anyone in: "
                        + "chmod go-w \(file)")
            }
            try keys.add(text, from: file)
        }
        return keys
    }

    /// What differs after any change: of content, permissions, or of the file behind a name.
    func stamp() -> [FileStamp] {
        let files = (try? files()) ?? []
        return ([path] + files).map { FileStamp($0) }
    }

    private func files() throws -> [String] {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            return [path]
        }
        do {
            return try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".pub") }.sorted()
                .map { path + "/" + $0 }
        } catch { throw ClusterError("cannot read the folder '\(path)': \(systemReason(error))") }
    }
}

/// A file as `stat` sees it.
struct FileStamp: Equatable {
    private let path: String
    private let values: [Int64]

    init(_ path: String) {
        self.path = path
        var status = stat()
        guard stat(path, &status) == 0 else {
            values = [Int64(errno)]
            return
        }
        values = [
            Int64(truncatingIfNeeded: status.st_dev), Int64(truncatingIfNeeded: status.st_ino), Int64(status.st_size),
            Int64(status.st_mode), Int64(status.st_mtim.tv_sec), Int64(status.st_mtim.tv_nsec),
            // Nobody can set the time of the last change of status.
            Int64(status.st_ctim.tv_sec), Int64(status.st_ctim.tv_nsec),
        ]
    }
}
