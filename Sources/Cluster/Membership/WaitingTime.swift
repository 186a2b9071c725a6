/// For how long somebody has been waited for in vain. It stands still while nobody waits.
package struct WaitingTime: Sendable {
    private var before = Duration.zero
    private var since: ContinuousClock.Instant?

    package init() {}

    /// Nil while nobody waits.
    package func elapsed(at now: ContinuousClock.Instant) -> Duration? { since.map { before + $0.duration(to: now) } }

    package mutating func wait(at now: ContinuousClock.Instant) { if since == nil { since = now } }

    package mutating func pause(at now: ContinuousClock.Instant) {
        before = elapsed(at: now) ?? before
        since = nil
    }

    /// What was waited for has come nearer.
    package mutating func restart(at now: ContinuousClock.Instant) {
        before = .zero
        if since != nil { since = now }
    }
}
