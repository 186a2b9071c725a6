import Synchronization

/// Counts the messages that were not taken, by cause, and logs the first of each.
package final class DropCounters: Sendable {
    private let counts = Mutex<[DropCause: Int]>([:])
    private let log: Log

    package init(log: Log) { self.log = log }

    /// Counts without a word. Returns whether it is the first of its cause.
    @discardableResult package func count(_ cause: DropCause) -> Bool {
        counts.withLock { counts in
            counts[cause, default: 0] += 1
            return counts[cause] == 1
        }
    }

    package func count(_ cause: DropCause, _ detail: @autoclosure () -> String) {
        if count(cause) {
            // The last words of a worker that has just left are nothing to worry about, nor what is answered too late.
            log(
                [.unknownSender, .unknownSequence].contains(cause) ? .info : .warning,
                "a message was not taken; more of this cause are only counted",
                [
                    ("cause", cause.rawValue), ("detail", detail()),
                ])
        }
    }

    package var snapshot: [DropCause: Int] { counts.withLock { $0 } }
}
