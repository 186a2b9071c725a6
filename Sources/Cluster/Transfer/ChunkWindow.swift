/// How many questions a worker may have under way: as many as keep the link busy, and hardly more, so that expert
/// batches on the same link do not queue behind weights. It grows while answers come about as soon as the soonest, and
/// shrinks when they begin to queue, which is the idea of LEDBAT (RFC 6817).
package struct ChunkWindow: Sendable {
    package static let sizes = 2.0...32.0
    /// How long an answer may queue: for as long the rows of each layer wait that share the link.
    package static let queueing = Duration.milliseconds(2)

    private var exact = Self.sizes.lowerBound
    private var soonest: Duration?
    /// Until the first answer that had to queue, it grows by one with each.
    private var hasQueued = false

    package init() {}

    package var size: Int { Int(exact) }

    /// A chunk came so long after it was asked for.
    package mutating func answered(after time: Duration) {
        let soonest = min(time, soonest ?? time)
        self.soonest = soonest
        if time - soonest > Self.queueing {
            hasQueued = true
            exact -= 0.5
        } else {
            exact += hasQueued ? 1 / exact : 1
        }
        exact = min(max(exact, Self.sizes.lowerBound), Self.sizes.upperBound)
    }
}
