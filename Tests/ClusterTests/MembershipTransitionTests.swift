import Cluster
import Testing
import Transformer

/// Every message and event in every state of a member: where it leaves the member, and what of it is dropped.
@Suite struct MembershipTransitionTests {
    private let start = ContinuousClock.now

    /// Where a worker stands, as ``Membership`` sees it.
    enum State: CaseIterable { case stranger, held, joining, loading, ready, suspect, draining }

    enum Event: CaseIterable {
        case join, heartbeat, loading, computed, ready, readyOfOldEpoch, readyOfNoEpoch, leave
        /// What a worker never says.
        case assign, refuse, model
        case unreachable, expelled, tick
    }

    /// Where it is not the state before, or, once a suspect has said anything, ready.
    private static let transitions: [State: [Event: State]] = [
        .stranger: [.join: .loading],
        .held: [.leave: .stranger],
        // Its turn comes when those that serve are whole again.
        .joining: [.leave: .stranger],
        .loading: [.ready: .ready, .leave: .stranger],
        .ready: [.leave: .draining],
        .suspect: [.leave: .draining, .tick: .suspect],
        .draining: [:],
    ]

    private static func drops(_ state: State, _ event: Event) -> [DropCause] {
        switch (state, event) {
        case (_, .unreachable), (_, .expelled), (_, .tick), (.stranger, .join): []
        case (.stranger, _): [.unknownSender]
        case (_, .join), (_, .assign), (_, .refuse), (_, .model): [.unexpectedMessage]
        case (_, .readyOfNoEpoch): [.staleEpoch]
        default: []
        }
    }

    @Test("every event in every state", arguments: State.allCases, Event.allCases)
    func transition(from: State, event: Event) throws {
        let subject = WorkerID()
        var membership = self.membership(with: subject, from)
        #expect(state(of: subject, membership) == from)
        let effects = perform(event, on: &membership, subject)
        let to =
            switch event {
            case .unreachable, .expelled: State.stranger
            default: Self.transitions[from]?[event] ?? (from == .suspect ? .ready : from)
            }
        #expect(state(of: subject, membership) == to)
        #expect(
            effects.compactMap { if case .drop(let cause, _) = $0 { cause } else { nil } } == Self.drops(from, event))
        // Who goes is forgotten, and gets no experts any more.
        let isForgotten = effects.contains { if case .forget(subject) = $0 { true } else { false } }
        #expect(isForgotten == (from != .stranger && to == .stranger))
        #expect(to != .stranger || membership.pending?.workers.contains(subject) != true)
    }

    private func perform(_ event: Event, on membership: inout Membership, _ id: WorkerID) -> [Membership.Effect] {
        let epoch = membership.pending?.epoch ?? membership.placement.epoch
        let message: ControlMessage
        switch event {
        case .unreachable: return membership.unreachable(id, at: start)
        case .expelled: return membership.expel(id, reason: "test", at: start)
        case .tick: return membership.tick(at: start + membership.timing.suspectAfter, isSettled: false)
        case .join: message = join("subject")
        case .heartbeat: message = .heartbeat
        case .loading: message = .loading(LoadingProgress(loaded: 1, wanted: 2, received: 0))
        case .computed: message = .computed(ComputeTotals(work: 1, nanoseconds: 1))
        case .ready: message = .ready(epoch: epoch)
        case .readyOfOldEpoch: message = .ready(epoch: 0)
        case .readyOfNoEpoch: message = .ready(epoch: epoch + 10)
        case .leave: message = .leave(reason: "test")
        case .assign:
            message = .assign(
                Assignment(
                    epoch: 1, precision: .int8, experts: ExpertSet(shape: FakeModel.shape), dataEndpoint: "",
                    heartbeatInterval: .seconds(1)))
        case .refuse: message = .refuse(Refusal(cause: .unspecified, reason: ""))
        case .model: message = .model(WireTests.model)
        }
        return membership.receive(message, from: id, at: start)
    }

    private func join(_ name: String) -> ControlMessage {
        .join(
            JoinRequest(
                name: name, memoryBudget: .max, threads: 1, digest: FakeModel.identity.digest, shape: FakeModel.shape,
                precisions: Precision.allCases))
    }

    /// A membership of others, who go on, and a worker in that state.
    private func membership(with subject: WorkerID, _ state: State) -> Membership {
        let other = WorkerID()
        var membership = Membership(
            model: FakeModel.identity, precision: .int8, timing: ClusterTiming(), dataEndpoint: "tcp://127.0.0.1:9")
        func load(_ id: WorkerID) {
            _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: id, at: start)
        }
        _ = membership.receive(join("other"), from: other, at: start)
        load(other)
        switch state {
        case .stranger: break
        case .held:
            let earlier = WorkerID()
            _ = membership.receive(join("subject"), from: earlier, at: start)
            _ = membership.expel(earlier, reason: "test", at: start)
            load(other)
            _ = membership.receive(join("subject"), from: subject, at: start)
        case .joining:
            // One of two that serve leaves, and the other has not taken over yet.
            let third = WorkerID()
            _ = membership.receive(join("third"), from: third, at: start)
            for id in [other, third] { load(id) }
            _ = membership.receive(.leave(reason: "test"), from: other, at: start)
            _ = membership.receive(join("subject"), from: subject, at: start)
        case .loading: _ = membership.receive(join("subject"), from: subject, at: start)
        case .ready, .suspect, .draining:
            _ = membership.receive(join("subject"), from: subject, at: start)
            for id in [other, subject] { load(id) }
            if state == .suspect { _ = membership.tick(at: start + membership.timing.suspectAfter, isSettled: true) }
            if state == .draining { _ = membership.receive(.leave(reason: "test"), from: subject, at: start) }
        }
        // The time that a tick comes, the others have been heard.
        if state != .suspect {
            for id in membership.members.keys {
                _ = membership.receive(.heartbeat, from: id, at: start + membership.timing.heartbeatInterval)
            }
        }
        return membership
    }

    private func state(of id: WorkerID, _ membership: Membership) -> State {
        switch membership.members[id]?.liveness.state {
        case .held: .held
        case .joining: .joining
        case .loading: .loading
        case .ready: .ready
        case .suspect: .suspect
        case .draining: .draining
        case .dead, nil: .stranger
        }
    }
}
