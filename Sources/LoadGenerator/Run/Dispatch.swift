/// Decides when which request is sent; no socket and no clock.
package struct Dispatch: Sendable {
    /// A request whose turn has come.
    package struct Turn: Sendable, Equatable {
        package let index: Int
        /// When it should have been sent.
        package let scheduled: Double
    }

    /// A client whose request has failed waits this long, or a server that refuses everything would be asked
    /// thousands of times a second.
    private static let pauseAfterFailure = 0.1

    private let load: Load
    private var arrivals: PoissonArrivals
    private var nextArrival = 0.0
    private var sent = 0
    private var pausedUntil: [Double] = []

    package init(_ load: Load, seed: UInt64) {
        self.load = load
        var rate = 1.0
        if case .rate(let perSecond, _) = load.arrivals { rate = perSecond }
        arrivals = PoissonArrivals(rate: rate, seed: seed)
        nextArrival = arrivals.next() ?? 0
    }

    /// The next request, if one is to be sent now.
    package mutating func next(at time: Double, active: Int) -> Turn? {
        pausedUntil.removeAll { $0 <= time }
        guard !isOver(at: time), time >= earliest(active: active) else { return nil }
        defer { sent += 1 }
        guard case .rate = load.arrivals else { return Turn(index: sent, scheduled: time) }
        defer { nextArrival = arrivals.next() ?? .infinity }
        return Turn(index: sent, scheduled: nextArrival)
    }

    /// Notes that a request failed at `time`.
    package mutating func failed(at time: Double) {
        if case .concurrency = load.arrivals { pausedUntil.append(time + Self.pauseAfterFailure) }
    }

    /// The moment from which ``next(at:active:)`` has something to send, or at which it is over; infinity where a
    /// request has to end first.
    package func earliest(active: Int) -> Double {
        guard active < load.maximumConcurrency else { return .infinity }
        switch load.arrivals {
        case .rate: return nextArrival
        case .concurrency(let count):
            return active + pausedUntil.count < count ? 0 : pausedUntil.min() ?? .infinity
        }
    }

    /// Whether no more will be sent.
    package func isOver(at time: Double) -> Bool {
        switch (load.extent, load.arrivals) {
        case (.requests(let count), _): sent >= count
        // What has arrived in time is sent, however late.
        case (.seconds(let limit), .rate): nextArrival >= limit
        case (.seconds(let limit), .concurrency): time >= limit
        }
    }
}
