import Synchronization
package import Transformer

/// A placement as the engine's thread uses it.
package final class Routes: Sendable {
    package let epoch: UInt64
    package let links: [WorkerLink]
    /// How fast each worker is beside the others.
    package let weights: [Int]
    package let expertsPerLayer: Int
    /// Indexes into `links`, (layer, expert) after (layer, expert), and where each pair's begin.
    private let holders: [Int]
    private let starts: [Int]

    /// (layer, expert) pairs.
    var pairs: Int { starts.count - 1 }
    var layers: Int { pairs / expertsPerLayer }

    package init(_ placement: Placement, links: [WorkerLink]) {
        epoch = placement.epoch
        self.links = links
        weights = placement.candidates.map { max(1, $0.weight) }
        expertsPerLayer = placement.shape.experts
        holders = placement.holders.flatMap(\.self)
        starts = placement.holders.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    }

    /// Who holds an expert, its owner first; none where it is left to the coordinator.
    package func holders(layer: Int, expert: Int) -> ArraySlice<Int> {
        let pair = layer * expertsPerLayer + expert
        return holders[starts[pair]..<starts[pair + 1]]
    }
}

/// Where the control thread leaves the newest placement, and the engine's thread says which it uses.
package final class PlacementBoard: Sendable {
    private struct State {
        var published: Routes
        var adoptedEpoch: UInt64 = 0
        var isRunning = false
        /// Whether layers are to come that take the same placement.
        var isAmidStep = false
        var lastRun: ContinuousClock.Instant?
    }

    private let state: Mutex<State>
    private let expertsPerLayer: Int
    private let counts: Mutex<[UInt64]>

    package init(_ routes: Routes) {
        state = Mutex(State(published: routes))
        expertsPerLayer = routes.expertsPerLayer
        counts = Mutex([UInt64](repeating: 0, count: routes.pairs))
    }

    /// How many rows each expert has had since the start, (layer, expert) after (layer, expert).
    var rows: [UInt64] { counts.withLock { $0 } }

    /// Counts the rows of a batch; called once for each, before it is computed.
    package func count(_ assignments: UnsafeBufferPointer<ExpertAssignment>, layer: Int) {
        counts.withLock { counts in
            for assignment in assignments { counts[layer * expertsPerLayer + Int(assignment.expert)] += 1 }
        }
        state.withLock { $0.isAmidStep = layer + 1 < $0.published.layers }
    }

    package func publish(_ routes: Routes) { state.withLock { $0.published = routes } }

    /// The newest placement, which the caller uses from now on.
    package func adopt() -> Routes {
        state.withLock {
            $0.adoptedEpoch = $0.published.epoch
            return $0.published
        }
    }

    package func beginRun() { state.withLock { $0.isRunning = true } }

    package func endRun(at now: ContinuousClock.Instant) {
        state.withLock {
            $0.isRunning = false
            $0.lastRun = now
        }
    }

    /// Whether the published placement is in use, or none is because nothing was computed for `idle`. In the middle of a
    /// step, which a pause of this process or long attention may draw out, that takes longer; a step that failed is not
    /// gone on with.
    package func isSettled(at now: ContinuousClock.Instant, idle: Duration) -> Bool {
        state.withLock {
            if $0.adoptedEpoch == $0.published.epoch { return true }
            let end = $0.isAmidStep ? idle * 60 : idle
            return !$0.isRunning && ($0.lastRun.map { $0.duration(to: now) >= end } ?? true)
        }
    }
}
