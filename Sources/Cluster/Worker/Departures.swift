/// Why a membership came to an end that is to be had again.
package enum Departure: String, Sendable {
    case silent, disconnected, sentAway, unknownMember, tooMuchMemory, unusable
}

/// Decides which departures from a coordinator are worth a line in the log: a few of each kind in a minute, lest a
/// coordinator that sends a worker away again and again fill its disk. The others are counted. A pure value.
package struct Departures: Sendable {
    private struct Count {
        var begin: ContinuousClock.Instant
        var lines = 0
        var unsaid = 0
    }

    private static let lines = 3
    private static let period = Duration.seconds(60)

    private var counts: [Departure: Count] = [:]

    package init() {}

    /// Returns how many of this kind have gone unsaid before this one, or nil if it is to go unsaid too.
    package mutating func note(_ departure: Departure, at now: ContinuousClock.Instant) -> Int? {
        var count = counts[departure] ?? Count(begin: now)
        defer { counts[departure] = count }
        if count.begin.duration(to: now) >= Self.period { (count.begin, count.lines) = (now, 0) }
        guard count.lines < Self.lines else {
            count.unsaid += 1
            return nil
        }
        count.lines += 1
        defer { count.unsaid = 0 }
        return count.unsaid
    }
}
