import Synchronization

/// A placement as the engine's thread uses it.
package final class Routes: Sendable {
    package let epoch: UInt64
    package let links: [WorkerLink]
    /// [layers][experts]: an index into `links`, or -1 for the coordinator itself.
    package let owners: [Int32]
    package let expertsPerLayer: Int

    package init(_ placement: Placement, links: [WorkerLink]) {
        epoch = placement.epoch
        self.links = links
        owners = placement.owners.map { Int32($0 ?? -1) }
        expertsPerLayer = placement.shape.experts
    }
}

/// Where the control thread leaves the newest placement, and the engine's thread says which it uses.
package final class PlacementBoard: Sendable {
    private struct State {
        var published: Routes
        var adoptedEpoch: UInt64 = 0
        var isRunning = false
        var lastRun: ContinuousClock.Instant?
    }

    private let state: Mutex<State>

    package init(_ routes: Routes) { state = Mutex(State(published: routes)) }

    package func publish(_ routes: Routes) { state.withLock { $0.published = routes } }

    /// The newest placement, which the caller uses from now on.
    func adopt() -> Routes {
        state.withLock {
            $0.adoptedEpoch = $0.published.epoch
            return $0.published
        }
    }

    func beginRun() { state.withLock { $0.isRunning = true } }

    func endRun(at now: ContinuousClock.Instant) {
        state.withLock {
            $0.isRunning = false
            $0.lastRun = now
        }
    }

    /// Whether the published placement is in use, or none is because nothing was computed for `idle`.
    func isSettled(at now: ContinuousClock.Instant, idle: Duration) -> Bool {
        state.withLock {
            if $0.adoptedEpoch == $0.published.epoch { return true }
            return !$0.isRunning && ($0.lastRun.map { $0.duration(to: now) >= idle } ?? true)
        }
    }
}
