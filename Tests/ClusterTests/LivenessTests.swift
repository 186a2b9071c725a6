import Cluster
import Testing

@Suite struct LivenessTests {
    private let start = ContinuousClock.now
    private let timing = ClusterTiming()

    private func worker(_ state: Liveness.State) -> Liveness {
        var liveness = Liveness(timing: timing, at: start)
        let events: [(Liveness.Event, Duration)] =
            switch state {
            case .joining: []
            case .loading: [(.assigned, .zero)]
            case .ready: [(.assigned, .zero), (.loaded, .zero)]
            case .suspect: [(.assigned, .zero), (.loaded, .zero), (.tick, timing.suspectAfter)]
            case .draining: [(.assigned, .zero), (.loaded, .zero), (.leave, .zero)]
            case .dead: [(.unreachable, .zero)]
            }
        for (event, offset) in events { _ = liveness.on(event, at: start + offset) }
        return liveness
    }

    /// What becomes of a worker in each state at each event, long before anything is due.
    @Test(
        "every event in every state",
        arguments: [
            (Liveness.State.joining, Liveness.Event.assigned, Liveness.State.loading, [Liveness.Action]()),
            (.joining, .loaded, .joining, []), (.joining, .heard, .joining, []),
            (.joining, .leave, .dead, [.release]), (.joining, .released, .joining, []), (.joining, .tick, .joining, []),
            (.loading, .assigned, .loading, []), (.loading, .loaded, .ready, []), (.loading, .heard, .loading, []),
            (.loading, .leave, .dead, [.release]), (.loading, .released, .loading, []), (.loading, .tick, .loading, []),
            (.ready, .assigned, .ready, []), (.ready, .loaded, .ready, []), (.ready, .heard, .ready, []),
            (.ready, .leave, .draining, [.replan]), (.ready, .released, .ready, []), (.ready, .tick, .ready, []),
            (.suspect, .assigned, .suspect, []), (.suspect, .loaded, .suspect, []),
            (.suspect, .heard, .ready, [.resume]), (.suspect, .leave, .draining, [.replan]),
            (.suspect, .released, .suspect, []), (.suspect, .tick, .suspect, []),
            (.draining, .assigned, .draining, []), (.draining, .loaded, .draining, []),
            (.draining, .heard, .draining, []), (.draining, .leave, .draining, []),
            (.draining, .released, .dead, [.release]), (.draining, .tick, .draining, []),
            (.dead, .assigned, .dead, []), (.dead, .loaded, .dead, []), (.dead, .heard, .dead, []),
            (.dead, .leave, .dead, []), (.dead, .released, .dead, []), (.dead, .unreachable, .dead, []),
        ])
    func transition(from: Liveness.State, event: Liveness.Event, to: Liveness.State, actions: [Liveness.Action]) {
        var liveness = worker(from)
        #expect(liveness.on(event, at: start + timing.heartbeatInterval) == actions)
        #expect(liveness.state == to)
    }

    @Test(
        "a closed connection is death in every state",
        arguments: [Liveness.State.joining, .loading, .ready, .suspect, .draining])
    func unreachable(state: Liveness.State) {
        var liveness = worker(state)
        #expect(liveness.on(.unreachable, at: start) == [.remove(reason: "its connection closed")])
        #expect(liveness.state == .dead)
    }

    @Test(
        "long silence is death in every state",
        arguments: [Liveness.State.joining, .loading, .ready, .suspect, .draining])
    func silence(state: Liveness.State) {
        var liveness = worker(state)
        #expect(liveness.on(.tick, at: start + timing.deadAfter) == [.remove(reason: "it was silent for 3000 ms")])
        #expect(liveness.state == .dead)
    }

    @Test("a ready worker becomes suspect at 2.5 missed intervals, and whatever it says brings it back")
    func suspicion() {
        var liveness = worker(.ready)
        #expect(liveness.on(.tick, at: start + timing.suspectAfter - .milliseconds(1)) == [])
        #expect(liveness.on(.tick, at: start + timing.suspectAfter) == [.suspend])
        #expect(liveness.on(.heard, at: start + timing.suspectAfter) == [.resume])
        #expect(
            liveness.on(.tick, at: start + timing.suspectAfter * 2 - .milliseconds(1)) == [],
            "the silence is counted anew")
    }

    @Test("a worker that talks but is never released goes after the drain limit")
    func drainLimit() {
        var liveness = worker(.draining)
        _ = liveness.on(.heard, at: start + timing.drainLimit)
        #expect(liveness.on(.tick, at: start + timing.drainLimit) == [.release])
        #expect(liveness.state == .dead)
    }
}
