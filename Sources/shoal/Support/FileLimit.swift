import Foundation

enum FileLimit {
    /// Raises the soft limit of open files to the hard one. Each connection is a file, and the usual soft limit of 1024
    /// is there for programs that use `select`.
    static func raise() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        // As good as before, where it is not allowed.
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
