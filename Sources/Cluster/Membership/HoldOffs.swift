/// Who died again soon after it was taken in, or was sent away, and until when it is not taken in again.
///
/// Deaths are counted for a public key, or, without keys, for a place on a host (``Places``). The first costs nothing, so
/// that whoever is killed once is back at once; the next cost 1 s, 2 s, 4 s and so on. Workers of one key that die
/// together are one death.
package struct HoldOffs: Sendable {
    /// Never longer than this, however often it dies.
    package static let longest = Duration.seconds(64)
    /// Those of whom nothing was heard the longest are forgotten when there are more.
    private static let capacity = 1024

    package struct Entry: Sendable, Equatable {
        package var deaths = 0
        package var lastDeath: ContinuousClock.Instant
        package var until: ContinuousClock.Instant
        /// It was sent away: not even a cluster that lacks it takes it in.
        package var isBanished = false
    }

    package private(set) var entries: [String: Entry] = [:]

    package init() {}

    /// Why somebody is not to be taken in yet; nil for everyone else.
    package func entry(for who: String, at now: ContinuousClock.Instant) -> Entry? {
        entries[who].flatMap { $0.until > now ? $0 : nil }
    }

    /// A worker died that had joined at `joined`.
    package mutating func died(
        _ who: String, joined: ContinuousClock.Instant, at now: ContinuousClock.Instant
    ) {
        var entry = entries[who] ?? Entry(lastDeath: joined, until: now)
        // Who was there already when another died is no one that came back.
        guard joined >= entry.lastDeath else { return }
        entry.deaths += 1
        entry.isBanished = entry.isBanished && entry.until > now
        entry.lastDeath = now
        let delay = entry.deaths < 2 ? .zero : min(Self.longest, .seconds(1 << min(entry.deaths - 2, 30)))
        entry.until = max(entry.until, now + delay)
        keep(entry, who)
    }

    /// A worker went that had served for long enough to prove itself.
    package mutating func served(_ who: String, at now: ContinuousClock.Instant) {
        if let entry = entries[who], !entry.isBanished || entry.until <= now { entries[who] = nil }
    }

    /// A worker was sent away.
    package mutating func banish(_ who: String, for time: Duration, at now: ContinuousClock.Instant) {
        keep(Entry(deaths: entries[who]?.deaths ?? 0, lastDeath: now, until: now + time, isBanished: true), who)
    }

    private mutating func keep(_ entry: Entry, _ who: String) {
        entries[who] = entry
        guard entries.count > Self.capacity, let oldest = entries.min(by: { $0.value.until < $1.value.until }) else {
            return
        }
        entries[oldest.key] = nil
    }
}
