import Cluster
import Foundation
import Synchronization

/// Shows how far long work has come, once it proves to be long: one line that is rewritten on a terminal, a line every
/// tenth elsewhere, in the log where there is one.
final class Progress: Sendable {
    private let label: String
    private let log: Log?
    private let isTerminal = isatty(2) == 1
    private let start = ContinuousClock.now
    private let shown = Mutex(0)

    init(_ label: String, log: Log? = nil) {
        self.label = label
        self.log = log
    }

    /// `fraction` from 0 to 1.
    func show(_ fraction: Double) {
        let percent = Int(max(0, min(1, fraction)) * 100)
        let isNews = shown.withLock { shown in
            guard percent != shown, isTerminal || percent / 10 != shown / 10, start.duration(to: .now) > .seconds(1)
            else {
                return false
            }
            shown = percent
            return true
        }
        guard isNews else { return }
        if isTerminal {
            printError("\r\u{1B}[K\(label) \(percent) %", terminator: "")
            if percent == 100 { printError("\r\u{1B}[K", terminator: "") }
        } else if let log {
            log(.info, label, [("percent", "\(percent)")])
        } else {
            printError("\(label) \(percent) %")
        }
    }
}
