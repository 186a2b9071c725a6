/// How requests are sent.
public struct Load: Sendable, Equatable {
    /// When the next one is sent.
    public enum Arrivals: Sendable, Equatable {
        /// A fixed number of clients, each sending when its last request has ended: a closed loop.
        case concurrency(Int)
        /// So many a second on average, at random (Poisson), whatever became of the others: an open loop. Never more
        /// than `atMost` at a time; an arrival beyond that waits, and its waiting counts.
        case rate(Double, atMost: Int)
    }

    /// When no more is sent.
    public enum Extent: Sendable, Equatable {
        /// After so many.
        case requests(Int)
        /// After so many seconds; what runs then is waited for.
        case seconds(Double)
    }

    /// When the next one is sent.
    public var arrivals: Arrivals
    /// When no more is sent.
    public var extent: Extent
    /// Seconds after which a request has failed.
    public var timeout: Double

    /// One load.
    public init(arrivals: Arrivals, extent: Extent, timeout: Double = 600) {
        self.arrivals = arrivals
        self.extent = extent
        self.timeout = timeout
    }

    /// The most requests under way at a time.
    var maximumConcurrency: Int {
        switch arrivals {
        case .concurrency(let count), .rate(_, let count): count
        }
    }
}

extension Load: CustomStringConvertible {
    /// "8 clients, 32 requests".
    public var description: String {
        let arrivals =
            switch arrivals {
            case .concurrency(let count): "\(count) clients"
            case .rate(let rate, let atMost): "\(rate) requests a second, at most \(atMost) at a time"
            }
        return switch extent {
        case .requests(let count): "\(arrivals), \(count) requests"
        case .seconds(let seconds): "\(arrivals), \(seconds) s"
        }
    }
}
