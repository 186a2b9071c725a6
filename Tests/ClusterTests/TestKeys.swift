import Cluster
import Foundation

/// A coordinator's keys, and a file of those that it admits, in a folder that goes away with this.
final class TestKeys {
    let folder: URL
    let own: KeyPair
    private var authorized: [KeyPair] = []

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "shoal-keys-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        own = try KeyPair.generate()
        try write()
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    var path: String { folder.appending(path: "authorized").path }

    var coordinator: Protection<CoordinatorKeys> {
        .keys(CoordinatorKeys(own: own, authorized: AuthorizedKeysPath(path)))
    }

    /// A new worker's, which the coordinator admits.
    func worker() throws -> (pair: KeyPair, protection: Protection<WorkerKeys>) {
        let pair = try KeyPair.generate()
        try authorize(pair)
        return (pair, protection(pair))
    }

    func authorize(_ pair: KeyPair) throws {
        authorized.append(pair)
        try write()
    }

    func protection(_ pair: KeyPair) -> Protection<WorkerKeys> {
        .keys(WorkerKeys(own: pair, coordinator: own.publicKey))
    }

    func revoke(_ pair: KeyPair) throws {
        authorized.removeAll { $0.publicKey == pair.publicKey }
        try write()
    }

    func write(_ text: String, to name: String = "authorized", mode: Int = 0o644) throws {
        // In one step, or a coordinator might read a file that has not got its permissions yet.
        let draft = folder.appending(path: "\(name).draft")
        try Data(text.utf8).write(to: draft)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: draft.path)
        guard rename(draft.path, folder.appending(path: name).path) == 0 else { throw CocoaError(.fileWriteUnknown) }
    }

    private func write() throws {
        try write(authorized.map { KeyLine.publicKey($0.publicKey, name: "").text + "\n" }.joined())
    }
}
