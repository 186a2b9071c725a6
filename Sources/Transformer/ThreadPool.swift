import Kernels
import Synchronization

/// A fixed set of threads that share the indices of one loop. Not Sendable: one thread calls it at a time.
package final class ThreadPool {
    private let pool: OpaquePointer
    package let threads: Int

    private static let bindsThreads = Atomic(false)

    /// Says whether pools made from now on bind each of their threads, the caller's included, to a processor. It is a
    /// property of the process: its pools are called in turn by one thread, and share the processors.
    @inline(never)
    package static func setBinding(_ isWanted: Bool) { bindsThreads.store(isWanted, ordering: .relaxed) }

    /// `threads` counts the caller's own.
    package init(threads: Int) throws(ModelError) {
        guard threads >= 1, threads <= 1024, let pool = shoal_thread_pool_create(UInt32(threads)) else {
            throw ModelError(
                "cannot start \(threads) threads; expected a number from 1 to 1024 that this machine allows")
        }
        self.pool = pool
        self.threads = threads
        if Self.bindsThreads.load(ordering: .relaxed) { shoal_thread_pool_pin(pool) }
    }

    deinit { shoal_thread_pool_destroy(pool) }

    /// Calls `body` once for every index below `count`, on any of the threads, and returns when all calls have. What
    /// `body` writes must depend on the index alone.
    package func run(_ count: Int, _ body: (Int) -> Void) { runClosure(pool, count, body) }

    /// Splits `count` items among at most `threads` lanes, each of which may have a scratch of its own.
    package func runLanes(_ count: Int, _ body: (_ lane: Int, _ item: Int) -> Void) {
        let lanes = min(threads, count)
        run(lanes) { lane in
            for item in stride(from: lane, to: count, by: lanes) { body(lane, item) }
        }
    }
}

/// In thread_pool.c, under Swift's calling convention: a C function pointer and context would have to be made from the
/// closure by an allocation, and a token takes some hundreds of loops.
@_silgen_name("shoal_thread_pool_run_closure")
private func runClosure(_ pool: OpaquePointer, _ count: Int, _ body: (Int) -> Void)
