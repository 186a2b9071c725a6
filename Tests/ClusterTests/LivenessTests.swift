import Cluster
import Testing

@Suite struct LivenessTests {
    private let start = ContinuousClock.now
    private let timing = ClusterTiming()

    /// Beyond everything else that is waited for.
    private var later: ContinuousClock.Instant { start + .seconds(60) }

    private func worker(_ state: Liveness.State) -> Liveness {
        var liveness = Liveness(timing: timing, at: start)
        let events: [(Liveness.Event, Duration)] =
            switch state {
            case .joining: []
            case .held: [(.hold(until: later), .zero)]
            case .loading: [(.assigned, .zero)]
            case .ready: [(.assigned, .zero), (.loaded, .zero)]
            case .suspect: [(.assigned, .zero), (.loaded, .zero), (.tick, timing.suspectAfter)]
            case .draining: [(.assigned, .zero), (.loaded, .zero), (.leave, .zero)]
            case .dead: [(.unreachable, .zero)]
            }
        for (event, offset) in events { _ = liveness.on(event, at: start + offset) }
        return liveness
    }

    /// What happens to a worker, without what it needs to be told apart.
    enum Kind: CaseIterable { case assigned, loaded, heard, leave, released, unreachable, hold, tick }

    private func event(_ kind: Kind) -> Liveness.Event {
        switch kind {
        case .assigned: .assigned
        case .loaded: .loaded
        case .heard: .heard
        case .leave: .leave
        case .released: .released
        case .unreachable: .unreachable
        case .hold: .hold(until: later)
        case .tick: .tick
        }
    }

    /// Long before anything is due. What is not listed changes nothing.
    private static let transitions: [Liveness.State: [Kind: (Liveness.State, [Liveness.Action])]] = {
        let closed = (Liveness.State.dead, [Liveness.Action.remove(reason: "its connection closed")])
        return [
            .joining: [
                .assigned: (.loading, []), .leave: (.dead, [.release]), .unreachable: closed, .hold: (.held, []),
            ],
            .held: [.leave: (.dead, [.release]), .unreachable: closed],
            .loading: [
                .loaded: (.ready, []), .leave: (.dead, [.release]), .unreachable: closed, .hold: (.held, [.replan]),
            ],
            .ready: [.leave: (.draining, [.replan]), .unreachable: closed, .hold: (.held, [.replan])],
            .suspect: [.heard: (.ready, [.resume]), .leave: (.draining, [.replan]), .unreachable: closed],
            .draining: [.released: (.dead, [.release]), .unreachable: closed],
            .dead: [:],
        ]
    }()

    @Test("every event in every state", arguments: Liveness.State.allCases, Kind.allCases)
    func transition(from: Liveness.State, kind: Kind) throws {
        var liveness = worker(from)
        #expect(liveness.state == from)
        let (to, actions) = try #require(Self.transitions[from])[kind] ?? (from, [])
        #expect(liveness.on(event(kind), at: start + timing.heartbeatInterval) == actions)
        #expect(liveness.state == to)
    }

    @Test("long silence is death in every state but death", arguments: Liveness.State.allCases)
    func silence(state: Liveness.State) {
        var liveness = worker(state)
        #expect(
            liveness.on(.tick, at: start + timing.deadAfter)
                == (state == .dead ? [] : [.remove(reason: "it was silent for 3000 ms")]))
        #expect(liveness.state == .dead)
    }

    @Test("who is held is admitted when its time is over, and the time can be changed")
    func held() {
        for end in [start + .seconds(1), start + .seconds(2)] {
            var liveness = worker(.held)
            #expect(liveness.on(.hold(until: end), at: start) == [] && liveness.heldUntil == end)
            #expect(liveness.on(.tick, at: end - .milliseconds(1)) == [])
            #expect(liveness.on(.tick, at: end) == [.admit])
            #expect(liveness.state == .joining && liveness.heldUntil == nil)
        }
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
