/// How patient the cluster is.
package struct ClusterTiming: Sendable, Equatable {
    /// Both sides say something at least this often.
    package var heartbeatInterval: Duration = .milliseconds(500)
    /// After this silence a worker's rows are no longer waited for.
    package var suspectAfter: Duration { heartbeatInterval * 5 / 2 }
    /// After this silence the other side counts as gone.
    package var deadAfter: Duration { heartbeatInterval * 6 }
    /// A leaving worker is let go after this time at the latest.
    package var drainLimit: Duration = .seconds(10)
    /// The engine counts as idle when it has computed no layer for this long.
    package var idleAfter: Duration = .seconds(1)
    /// A worker that has not come further with loading for this long no longer holds back the others; half of it is
    /// enough for a newcomer without which everything could be served, while nothing is. That is still longer than a worker
    /// takes to make a connection anew that has fallen silent.
    package var loadingLimit: Duration = .seconds(30)
    /// A worker that has served for this long has proved itself: what went before is forgotten.
    package var provenAfter: Duration = .seconds(10)
    /// A worker that was sent away is not taken in again for this long.
    package var banishment: Duration = .seconds(600)
    /// How often the placement is compared with what speeds and loads call for.
    package var rebalanceInterval: Duration = .seconds(60)
    /// At least, and at most, this long is an answer waited for: by default longer than it takes to notice that a worker
    /// has fallen silent, so that what speaks but does not answer is given up last.
    package var batchDeadline: ClosedRange<Duration> = .milliseconds(1500) ... .seconds(120)

    package init() {}
}

/// Where a worker stands, as the coordinator sees it: a pure value, without socket or clock.
package struct Liveness: Sendable, Equatable {
    /// joining → loading → ready ⇄ suspect, ready → draining; joining, loading, ready → held → joining; and from each to
    /// dead.
    package enum State: String, Sendable, CaseIterable {
        case joining, loading, ready, suspect, draining, dead
        /// It is connected, and gets no experts for a while.
        case held
    }

    package enum Event: Sendable, Equatable {
        /// It was told which experts it owns.
        case assigned
        /// It has loaded what it was last told to own.
        case loaded
        /// It sent anything at all.
        case heard
        /// It asked to leave.
        case leave
        /// Nothing can be in flight to it any more.
        case released
        /// Its connection is closed.
        case unreachable
        /// It is to be left out until then.
        case hold(until: ContinuousClock.Instant)
        case tick
    }

    package enum Action: Sendable, Equatable {
        /// Do not wait for its rows any longer.
        case suspend
        /// Rely on it again.
        case resume
        /// Share out its experts, while it serves on.
        case replan
        /// Let it take part.
        case admit
        /// Tell it to go, and forget it.
        case release
        /// Forget it.
        case remove(reason: String)
    }

    package private(set) var state = State.joining
    package private(set) var lastHeard: ContinuousClock.Instant
    private var drainingSince: ContinuousClock.Instant?
    /// While it is held.
    package private(set) var heldUntil: ContinuousClock.Instant?
    private let timing: ClusterTiming

    package init(timing: ClusterTiming, at now: ContinuousClock.Instant) {
        self.timing = timing
        lastHeard = now
    }

    package mutating func on(_ event: Event, at now: ContinuousClock.Instant) -> [Action] {
        if state == .dead { return [] }
        switch event {
        case .assigned:
            if state == .joining { state = .loading }
        case .loaded:
            if state == .loading { state = .ready }
        case .heard:
            lastHeard = now
            if state == .suspect {
                state = .ready
                return [.resume]
            }
        case .leave: return leave(at: now)
        case .released:
            if state == .draining { return die(.release) }
        case .unreachable: return die(.remove(reason: "its connection closed"))
        case .hold(let end): return hold(until: end)
        case .tick: return tick(at: now)
        }
        return []
    }

    private mutating func leave(at now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .ready, .suspect:
            state = .draining
            drainingSince = now
            return [.replan]
        case .joining, .loading, .held: return die(.release)
        case .draining, .dead: return []
        }
    }

    private mutating func hold(until end: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .joining, .loading, .ready, .held:
            defer { state = .held }
            heldUntil = end
            return state == .loading || state == .ready ? [.replan] : []
        // Silence and leaving have their own ends.
        case .suspect, .draining, .dead: return []
        }
    }

    private mutating func tick(at now: ContinuousClock.Instant) -> [Action] {
        let silence = lastHeard.duration(to: now)
        if silence >= timing.deadAfter { return die(.remove(reason: "it was silent for \(silence.milliseconds) ms")) }
        if let drainingSince, drainingSince.duration(to: now) >= timing.drainLimit { return die(.release) }
        if state == .held, let heldUntil, now >= heldUntil {
            state = .joining
            self.heldUntil = nil
            return [.admit]
        }
        if state == .ready, silence >= timing.suspectAfter {
            state = .suspect
            return [.suspend]
        }
        return []
    }

    private mutating func die(_ action: Action) -> [Action] {
        state = .dead
        return [action]
    }
}
