/// What an engine is doing, and what it has done since its start.
public struct EngineMetrics: Sendable, Equatable {
    /// Requests that take part in steps.
    public internal(set) var running = 0
    /// Requests that were accepted and take part in none: new ones, and preempted ones.
    public internal(set) var waiting = 0
    /// Of these, requests that gave their pages up and will be computed again.
    public internal(set) var preempted = 0
    /// Pages of the KV memory.
    public internal(set) var kvPages = 0
    /// Pages that requests use.
    public internal(set) var kvPagesUsed = 0
    /// Pages whose content a later request may find, in use or not.
    public internal(set) var kvPagesFindable = 0

    /// Steps computed.
    public internal(set) var steps = 0
    /// How often a request gave its pages up.
    public internal(set) var preemptions = 0
    /// Prompt tokens of requests that were admitted.
    public internal(set) var prefixCacheQueries = 0
    /// Of these, tokens whose keys and values were found.
    public internal(set) var prefixCacheHits = 0
    /// Prompt tokens computed.
    public internal(set) var promptTokens = 0
    /// Tokens generated.
    public internal(set) var generatedTokens = 0
    /// Tokens computed again after their sequence was preempted.
    public internal(set) var recomputedTokens = 0
    /// Requests that have ended, by how.
    public internal(set) var finished: [Outcome: Int] = [:]
    /// Requests refused because too many waited.
    public internal(set) var refused = 0

    /// Seconds from submission to the first chunk of the prompt.
    public internal(set) var queueTime = Histogram.seconds()
    /// Seconds from submission to the first token.
    public internal(set) var timeToFirstToken = Histogram.seconds()
    /// Seconds from a token to the next of the same request.
    public internal(set) var interTokenLatency = Histogram.seconds()
    /// Seconds from submission to the end.
    public internal(set) var requestTime = Histogram.seconds()
    /// Tokens of a step.
    public internal(set) var stepTokens = Histogram.powersOfTwo()
    /// Sequences of a step.
    public internal(set) var stepSequences = Histogram.powersOfTwo()

    /// Seconds that steps spent in each of their parts: the layers, the output head for the rows whose logits are wanted,
    /// and drawing tokens from these.
    public internal(set) var stepTime = StepTime()

    /// Seconds of each part of a step.
    public struct StepTime: Sendable, Equatable {
        var layers = 0.0, outputHead = 0.0, sampling = 0.0
    }

    /// How a request ended.
    public enum Outcome: String, Sendable, CaseIterable { case stop, length, cancelled, failed }

    /// An engine's that has done nothing.
    package init() {}

    /// Whether no request is left, and no page in use.
    public var isIdle: Bool { running == 0 && waiting == 0 && kvPagesUsed == 0 }
}

/// How often values fell into ranges, as Prometheus counts them.
public struct Histogram: Sendable, Equatable {
    /// The upper end of each range but the last, which has none; ascending.
    public let bounds: [Double]
    /// Values in each range, one more than there are bounds.
    public private(set) var counts: [Int]
    /// The sum of all values.
    public private(set) var sum = 0.0

    private init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    /// From a millisecond to about nine minutes.
    static func seconds() -> Histogram { Histogram(bounds: (0..<20).map { 0.001 * Double(1 << $0) }) }
    /// From 1 to 65,536.
    static func powersOfTwo() -> Histogram { Histogram(bounds: (0..<17).map { Double(1 << $0) }) }

    /// Values counted.
    public var count: Int { counts.reduce(0, +) }

    /// 0 without values.
    var mean: Double { sum / Double(max(1, count)) }

    mutating func record(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }

    mutating func record(_ duration: Duration) { record(duration / .seconds(1)) }
}
