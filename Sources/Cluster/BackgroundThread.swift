import Foundation

/// A thread that can be waited for.
final class BackgroundThread: Sendable {
    private let ended = DispatchSemaphore(value: 0)

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread { [ended] in
            body()
            ended.signal()
        }
        thread.name = name
        thread.start()
    }

    /// Returns when the thread has ended. May be called any number of times.
    func join() {
        ended.wait()
        ended.signal()
    }
}
