/// Time in which a thread listens to others. While the whole machine is paused (a laptop's lid, a virtual machine that moves,
/// SIGSTOP) or too busy to let this thread run, nobody is heard; but that is not their silence.
package struct AttentiveClock: Sendable {
    private var last: ContinuousClock.Instant
    private var leftOut = Duration.zero

    package init(at now: ContinuousClock.Instant = .now) { last = now }

    /// The time now. From one call to the next no more than `longest` passes.
    package mutating func look(
        at now: ContinuousClock.Instant = .now, longest: Duration
    ) -> ContinuousClock.Instant {
        leftOut += max(.zero, last.duration(to: now) - longest)
        last = now
        return now - leftOut
    }
}
