/// What one load measured.
public struct LevelReport: Sendable {
    /// The load.
    public let load: Load
    /// Every request, in the order in which they ended.
    public let samples: [Sample]
    /// Requests that ended as they should.
    public let completed: [Sample]
    /// From the first request's sending to the last one's end, in seconds.
    public let seconds: Double

    /// Of the samples of that load.
    public init(_ load: Load, _ samples: [Sample]) {
        self.load = load
        self.samples = samples
        completed = samples.filter { $0.outcome == .completed }
        let begin = samples.map(\.sent).min() ?? 0
        seconds = (samples.map(\.ended).max() ?? 0) - begin
    }

    /// A latency and its name.
    public enum Latency: String, Sendable, CaseIterable {
        /// From the scheduled moment to sending: waiting for a free client.
        case queue = "queue"
        /// From the scheduled moment to the first chunk with text.
        case timeToFirstToken = "TTFT"
        /// Between one chunk with text and the next.
        case interTokenLatency = "ITL"
        /// From the first chunk to the last, over the tokens after the first.
        case timePerOutputToken = "TPOT"
        /// From the scheduled moment to the end of the answer.
        case endToEnd = "end to end"
    }

    /// All measurements of a latency over the completed requests, in seconds.
    public func values(_ latency: Latency) -> [Double] {
        completed.flatMap { sample -> [Double] in
            let first = sample.chunks.first
            let last = sample.chunks.last
            switch latency {
            case .queue: return [sample.sent - sample.scheduled]
            case .timeToFirstToken: return first.map { [$0 - sample.scheduled] } ?? []
            case .interTokenLatency: return zip(sample.chunks.dropFirst(), sample.chunks).map { $0 - $1 }
            case .timePerOutputToken:
                guard let first, let last, sample.chunks.count > 1, sample.outputTokens > 1 else { return [] }
                return [(last - first) / Double(sample.outputTokens - 1)]
            case .endToEnd: return [sample.ended - sample.scheduled]
            }
        }
    }

    /// A rate over the whole level: `total` over ``seconds``.
    private func rate(_ total: Int) -> Double { seconds > 0 ? Double(total) / seconds : 0 }

    /// Completed requests a second.
    public var requestRate: Double { rate(completed.count) }
    /// Prompt tokens of completed requests a second.
    public var inputRate: Double { rate(inputTokens) }
    /// Generated tokens of completed requests a second: waiting and prefill included.
    public var outputRate: Double { rate(outputTokens) }
    /// Prompt tokens of completed requests.
    public var inputTokens: Int { completed.reduce(0) { $0 + $1.inputTokens } }
    /// Generated tokens of completed requests.
    public var outputTokens: Int { completed.reduce(0) { $0 + $1.outputTokens } }
    /// Prompt tokens from the server's prefix cache; nil where it does not say.
    public var cachedTokens: Int? {
        let counts = completed.compactMap(\.cachedTokens)
        return counts.isEmpty ? nil : counts.reduce(0, +)
    }
    /// Whether every completed request's tokens were counted by the server.
    public var isCountedByServer: Bool { completed.allSatisfy { $0.countedOutputTokens != nil } }

    /// The time in which all clients' requests decode; nil for an open loop, which has no such number.
    package var steadyState: SteadyState? {
        guard case .concurrency(let clients) = load.arrivals else { return nil }
        return SteadyState(samples, streams: clients)
    }

    /// Requests that were cancelled on purpose.
    public var cancelledCount: Int { samples.count { $0.outcome == .cancelled } }
    /// Requests that failed.
    public var failedCount: Int { samples.count - completed.count - cancelledCount }

    /// Failures by kind, the most frequent first, each with one message as an example.
    public var failures: [(kind: String, count: Int, example: String)] {
        var found: [String: (count: Int, example: String)] = [:]
        for case .failed(let failure) in samples.map(\.outcome) {
            found[failure.kind, default: (0, failure.message)].count += 1
        }
        return found.map { ($0.key, $0.value.count, $0.value.example) }
            .sorted { ($1.count, $0.kind) < ($0.count, $1.kind) }
    }

    /// The concurrency, or the requests a second.
    package var level: Double {
        switch load.arrivals {
        case .concurrency(let count): Double(count)
        case .rate(let rate, _): rate
        }
    }
}
