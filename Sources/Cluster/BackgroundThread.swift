import Foundation

/// A thread that can be waited for.
final class BackgroundThread: Sendable {
    private let ended = DispatchSemaphore(value: 0)

    /// - Parameter yields: whether the thread leaves the processor to others, where they want it.
    init(_ name: String, yields: Bool = false, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread { [ended] in
            if yields { Self.yield() }
            body()
            ended.signal()
        }
        thread.name = name
        thread.start()
    }

    /// The calling thread leaves the processor to others from now on.
    static func yield() {
        // Linux takes this for the thread alone.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    }

    /// Returns when the thread has ended. May be called any number of times.
    func join() {
        ended.wait()
        ended.signal()
    }
}
