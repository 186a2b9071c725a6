/// How many questions a worker may have under way: as many as keep the link busy, and hardly more, so that expert
/// batches on the same link do not queue behind weights. It grows while answers come about as soon as the soonest, and
/// shrinks when they begin to queue, which is the idea of LEDBAT (RFC 6817).
package struct ChunkWindow: Sendable {
    package static let sizes = 2...64
    /// How long an answer may queue: for as long the rows of each layer wait that share the link.
    package static let queueing = Duration.microseconds(1500)
    /// So many answers at least tell whether there is a queue.
    private static let sample = 4
    /// So many without a queue come at least before there is one more under way: beside two that is much.
    private static let patience = 16

    package private(set) var size = Self.sizes.lowerBound
    private var soonest: Duration?
    private var hasQueued = false
    /// How many answers came, as many as can be under way at once, and after what time the soonest of them did. A queue
    /// keeps all of them waiting; where only some come late it is the link that varies, or somebody waited for a processor.
    private var round: (count: Int, soonest: Duration?) = (0, nil)
    /// Since the size last changed: answers still to come to what was asked before, and those that came without a queue.
    private var earlier = 0, timely = 0

    package init() {}

    /// A chunk came so long after it was asked for.
    package mutating func answered(after time: Duration) {
        guard earlier == 0 else { return earlier -= 1 }
        let time = min(time, round.soonest ?? time)
        round = (round.count + 1, time)
        guard round.count >= max(size, Self.sample) else { return }
        timely += round.count
        round = (0, nil)
        let soonest = min(time, soonest ?? time)
        self.soonest = soonest
        if time - soonest > Self.queueing {
            hasQueued = true
            // Where the link is busy, the time goes with what is under way.
            resize(to: min(size - 1, Int(Double(size) * ((soonest + Self.queueing) / time))))
        } else if timely >= Self.patience {
            // Twice as many, until there was a queue for the first time.
            resize(to: size + (hasQueued ? 1 : size))
        }
    }

    private mutating func resize(to wanted: Int) {
        (earlier, timely) = (size, 0)
        size = min(max(wanted, Self.sizes.lowerBound), Self.sizes.upperBound)
    }
}
