internal import Foundation
internal import JSON

/// SHA-256 digests of files, remembered from one start to the next by what identifies a file's state.
///
/// One small file for each inode: `$SHOAL_CACHE/digests/DEVICE-INODE.json`. It helps and never hinders: where it cannot
/// be read or written, digests are computed afresh.
package struct DigestCache: Sendable {
    private let folder: URL
    private let blocks: URL

    /// In `$SHOAL_CACHE`, else `$XDG_CACHE_HOME/shoal`, else `~/.cache/shoal`.
    package init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        func path(_ name: String) -> URL? {
            environment[name].flatMap { $0.hasPrefix("/") ? URL(fileURLWithPath: $0) : nil }
        }
        let root =
            path("SHOAL_CACHE") ?? path("XDG_CACHE_HOME")?.appending(path: "shoal")
            ?? URL(fileURLWithPath: NSHomeDirectory()).appending(path: ".cache/shoal")
        folder = root.appending(path: "digests")
        blocks = root.appending(path: "block-digests")
    }

    subscript(identity: FileIdentity) -> [UInt8]? {
        guard let entry = try? readJSON(url(identity), limit: 4096), entry["size"]?.integer == identity.size,
            entry["modified"]?.integer == Int(identity.modified), entry["changed"]?.integer == Int(identity.changed),
            let text = entry["sha256"]?.string
        else { return nil }
        return bytes(hexadecimal: text)
    }

    func remember(_ digest: [UInt8], of identity: FileIdentity) {
        let entry: JSONValue = [
            "size": JSONValue(identity.size), "modified": JSONValue(identity.modified),
            "changed": JSONValue(identity.changed), "sha256": .string(hexadecimal(digest)),
        ]
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // Written beside and renamed, so that no reader sees half an entry.
        try? Data((entry.serialized + "\n").utf8).write(to: url(identity), options: .atomic)
    }

    private func url(_ identity: FileIdentity) -> URL {
        folder.appending(path: "\(identity.device)-\(identity.inode).json")
    }

    private func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == 64, text.utf8.count == 64 else { return nil }
        return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

extension DigestCache {
    /// Digests of parts of a checkpoint, remembered under its digest and a name; nil unless all of them are there, as
    /// they were written.
    package func blockDigests(_ name: String, of checkpoint: [UInt8]) -> [UInt8]? {
        guard let data = try? Data(contentsOf: url(name, checkpoint)), data.count > 32 else { return nil }
        let digests = Array(data.dropLast(32))
        return Array(data.suffix(32)) == Self.sum(digests) ? digests : nil
    }

    package func remember(_ digests: [UInt8], _ name: String, of checkpoint: [UInt8]) {
        let url = url(name, checkpoint)
        try? FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try? Data(digests + Self.sum(digests)).write(to: url, options: .atomic)
    }

    private func url(_ name: String, _ checkpoint: [UInt8]) -> URL {
        blocks.appending(path: hexadecimal(checkpoint)).appending(path: name)
    }

    private static func sum(_ bytes: [UInt8]) -> [UInt8] {
        var hash = SHA256()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}
