import Synchronization

/// The authorised keys as they are now, for every thread.
package final class AdmittedKeys: Sendable {
    private let keys: Mutex<AuthorizedKeys>
    private let changeCount = Atomic<Int>(0)

    package init(_ keys: AuthorizedKeys) { self.keys = Mutex(keys) }

    package func contains(_ key: PublicKey) -> Bool { keys.withLock { $0.contains(key) } }

    /// How often they have been replaced.
    var changes: Int { changeCount.load(ordering: .acquiring) }

    /// Returns the names of those that are new, and of those that are admitted no more.
    package func replace(by new: AuthorizedKeys) -> (added: [String], removed: [String]) {
        let old = keys.withLock { keys in
            defer { keys = new }
            return keys
        }
        changeCount.add(1, ordering: .releasing)
        return (new.names(missingIn: old), old.names(missingIn: new))
    }
}
