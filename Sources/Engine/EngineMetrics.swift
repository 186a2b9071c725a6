/// How busy an engine is.
public struct EngineMetrics: Sendable, Equatable {
    /// Requests that take part in steps.
    public internal(set) var running = 0
    /// Requests that were accepted and wait for their first step.
    public internal(set) var waiting = 0
    /// Positions held in the KV caches of all sequences.
    public internal(set) var cachedTokens = 0

    /// An idle engine's.
    package init() {}
}
