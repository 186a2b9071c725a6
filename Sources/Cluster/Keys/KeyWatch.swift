/// Decides when changed keys are read: not before they have been left alone for a moment, for an editor may be in the
/// middle of writing them. A pure value, without files or clock.
struct KeyWatch<Stamp: Equatable> {
    static var settling: Duration { .milliseconds(200) }

    private var taken: Stamp
    private var changed: (stamp: Stamp, since: ContinuousClock.Instant)?
    /// Of what could not be read.
    private var complained: Stamp?

    init(taken: Stamp) { self.taken = taken }

    /// Whether to read now what has this stamp.
    mutating func isDue(_ stamp: Stamp, at now: ContinuousClock.Instant) -> Bool {
        if stamp == taken {
            changed = nil
            return false
        }
        if let changed, changed.stamp == stamp { return changed.since.duration(to: now) >= Self.settling }
        changed = (stamp, now)
        return false
    }

    mutating func succeeded(_ stamp: Stamp) {
        taken = stamp
        complained = nil
    }

    /// Returns whether to say so: once for each change. It stays due.
    mutating func failed(_ stamp: Stamp) -> Bool {
        defer { complained = stamp }
        return complained != stamp
    }
}
