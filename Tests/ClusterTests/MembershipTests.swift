import Cluster
import Testing
import Transformer

@Suite struct MembershipTests {
    private let start = ContinuousClock.now
    private let model = FakeModel.identity

    private func membership(_ precision: Precision = .int8, copies: Int = 1) -> Membership {
        Membership(
            model: model, precision: precision, timing: ClusterTiming(), dataEndpoint: "tcp://127.0.0.1:9",
            copies: copies)
    }

    private func join(
        digest: [UInt8]? = nil, shape: ModelShape? = nil, precisions: [Precision] = Precision.allCases
    ) -> ControlMessage {
        .join(
            JoinRequest(
                name: "test", memoryBudget: .max, threads: 1, digest: digest ?? model.digest,
                shape: shape ?? model.shape, precisions: precisions))
    }

    private func sent(_ effects: [Membership.Effect]) -> [ControlMessage] {
        effects.compactMap { if case .send(let message, _) = $0 { message } else { nil } }
    }

    private func published(_ effects: [Membership.Effect]) -> Placement? {
        effects.compactMap { if case .publish(let placement) = $0 { placement } else { nil } }.last
    }

    private func dropped(_ effects: [Membership.Effect]) -> [DropCause] {
        effects.compactMap { if case .drop(let cause, _) = $0 { cause } else { nil } }
    }

    @Test("a placement holds only when all of its workers have loaded what it gives them")
    func twoPhases() {
        var membership = membership()
        let (a, b) = (WorkerID(), WorkerID())
        #expect(published(membership.receive(join(), from: a, at: start)) == nil)
        #expect(published(membership.receive(.ready(epoch: 1), from: a, at: start))?.workers == [a])
        #expect(published(membership.receive(join(), from: b, at: start)) == nil)
        #expect(membership.placement.workers == [a], "the old placement holds meanwhile")
        #expect(published(membership.receive(.ready(epoch: 2), from: b, at: start)) == nil)
        #expect(dropped(membership.receive(.ready(epoch: 1), from: a, at: start)) == [], "overtaken, not wrong")
        let placement = published(membership.receive(.ready(epoch: 2), from: a, at: start))
        #expect(placement?.workers == [a, b].sorted())
        #expect(dropped(membership.receive(.ready(epoch: 9), from: a, at: start)) == [.staleEpoch])
    }

    @Test("replicas are loaded after every expert has its owner; who loses one worker then serves on")
    func replicas() {
        var membership = membership(copies: 2)
        let (a, b) = (WorkerID(), WorkerID())
        for id in [a, b] { _ = membership.receive(join(), from: id, at: start) }
        _ = membership.receive(.ready(epoch: 2), from: a, at: start)
        let first = published(membership.receive(.ready(epoch: 2), from: b, at: start))
        #expect(first?.holders.allSatisfy { $0.count == 1 } == true)
        #expect(membership.pending?.epoch == 3, "served by one each, while the other copies are loaded")
        _ = membership.receive(.ready(epoch: 3), from: a, at: start)
        let second = published(membership.receive(.ready(epoch: 3), from: b, at: start))
        #expect(second?.holders.allSatisfy { $0.count == 2 } == true)
        #expect(membership.pending == nil, "nothing more to copy")
        _ = membership.receive(.heartbeat, from: b, at: start + membership.timing.suspectAfter)
        _ = membership.tick(at: start + membership.timing.suspectAfter, isSettled: true)
        #expect(membership.members[a]?.liveness.state == .suspect)
        #expect(membership.isServing(localExperts: false))
    }

    @Test("without local experts the cluster serves once every expert has an owner, and not while one is silent")
    func serving() {
        var membership = membership()
        let a = WorkerID()
        #expect(membership.isServing(localExperts: true))
        #expect(!membership.isServing(localExperts: false))
        _ = membership.receive(join(), from: a, at: start)
        #expect(!membership.isServing(localExperts: false))
        _ = membership.receive(.ready(epoch: 1), from: a, at: start)
        #expect(membership.isServing(localExperts: false))
        _ = membership.tick(at: start + membership.timing.suspectAfter, isSettled: true)
        #expect(!membership.isServing(localExperts: false))
    }

    @Test("what differs is refused, and the reason names both sides")
    func refusals() throws {
        var membership = membership()
        var other = model.shape
        other.experts += 1
        let cases: [(ControlMessage, Refusal.Cause, String)] = [
            (join(digest: [9]), .digest, "digest 09"),
            (join(shape: other), .shape, "9 experts"),
            (join(precisions: [.exact]), .precision, "int8"),
        ]
        for (message, cause, text) in cases {
            guard case .refuse(let refusal) = sent(membership.receive(message, from: WorkerID(), at: start)).first
            else {
                Issue.record("not refused: \(cause)")
                continue
            }
            #expect(refusal.cause == cause)
            #expect(refusal.reason.contains(text))
        }
        #expect(membership.members.isEmpty)
    }

    @Test("a worker that lacks the coordinator's precision is refused", arguments: Precision.allCases)
    func precisions(precision: Precision) {
        var membership = membership(precision)
        let others = Precision.allCases.filter { $0 != precision }
        guard
            case .refuse(let refusal) =
                sent(membership.receive(join(precisions: others), from: WorkerID(), at: start)).first
        else {
            Issue.record("not refused")
            return
        }
        #expect(refusal.cause == .precision)
        #expect(Precision.allCases.allSatisfy { refusal.reason.contains($0.rawValue) })
    }

    @Test("a crowd is refused beyond a limit; when one goes, another may come")
    func crowd() {
        var membership = membership()
        let ids = (0..<Membership.maximumMembers).map { _ in WorkerID() }
        for id in ids { _ = membership.receive(join(), from: id, at: start) }
        let late = WorkerID()
        guard case .refuse(let refusal) = sent(membership.receive(join(), from: late, at: start)).first else {
            return #expect(Bool(false), "not refused")
        }
        #expect(refusal.reason.contains("\(Membership.maximumMembers) workers"))
        #expect(membership.members.count == Membership.maximumMembers)
        _ = membership.unreachable(ids[0], at: start)
        _ = membership.receive(join(), from: late, at: start)
        #expect(membership.members[late] != nil)
    }

    @Test("whoever is not a member is told to join again; a member's second join is dropped")
    func strangers() {
        var membership = membership()
        let a = WorkerID()
        let effects = membership.receive(.heartbeat, from: a, at: start)
        #expect(dropped(effects) == [.unknownSender])
        guard case .refuse(let refusal) = sent(effects).first else { return #expect(Bool(false), "not refused") }
        #expect(refusal.cause == .unknownMember)
        _ = membership.receive(join(), from: a, at: start)
        #expect(dropped(membership.receive(join(), from: a, at: start)) == [.unexpectedMessage])
    }

    @Test("heartbeats say of which epochs requests may come")
    func inForce() {
        var membership = membership()
        let (a, b) = (WorkerID(), WorkerID())
        func beat(isSettled: Bool) -> ControlMessage? {
            let interval = membership.timing.heartbeatInterval * Int(membership.epoch)
            _ = membership.tick(at: start + interval, isSettled: isSettled)
            for case .send(let message, to: a) in membership.heartbeats() { return message }
            return nil
        }
        _ = membership.receive(join(), from: a, at: start)
        #expect(beat(isSettled: true) == .inForce(0...0))
        _ = membership.receive(.ready(epoch: 1), from: a, at: start)
        #expect(beat(isSettled: false) == .inForce(0...1), "the engine may be using the one before")
        #expect(beat(isSettled: true) == .inForce(1...1))
        _ = membership.receive(join(), from: b, at: start)
        #expect(beat(isSettled: true) == .inForce(1...1), "the next one is not loaded")
        #expect(dropped(membership.receive(.inForce(1...1), from: a, at: start)) == [.unexpectedMessage])
    }

    @Test("a leaving worker is released only when a placement without it is settled")
    func leaving() {
        var membership = membership()
        let (a, b) = (WorkerID(), WorkerID())
        for id in [a, b] { _ = membership.receive(join(), from: id, at: start) }
        for id in [a, b] { _ = membership.receive(.ready(epoch: 2), from: id, at: start) }
        _ = membership.receive(.leave(reason: "test"), from: a, at: start)
        #expect(sent(membership.tick(at: start, isSettled: true)) == [.inForce(2...2), .inForce(2...2)])
        #expect(published(membership.receive(.ready(epoch: 3), from: b, at: start))?.workers == [b])
        #expect(!sent(membership.tick(at: start, isSettled: false)).contains(.leave(reason: "released")))
        #expect(sent(membership.tick(at: start, isSettled: true)).contains(.leave(reason: "released")))
        #expect(membership.members.keys.sorted() == [b])
    }

    @Test("nobody waits for a newcomer that loads: those that serve take over from who goes, and it follows later")
    func slowNewcomer() {
        var membership = membership()
        let (a, b, newcomer, another) = (WorkerID(), WorkerID(), WorkerID(), WorkerID())
        for id in [a, b] { _ = membership.receive(join(), from: id, at: start) }
        for id in [a, b] { _ = membership.receive(.ready(epoch: 2), from: id, at: start) }
        #expect(published(membership.receive(join(), from: newcomer, at: start)) == nil)
        _ = membership.receive(.leave(reason: "test"), from: a, at: start)
        _ = membership.receive(join(), from: another, at: start)
        #expect(published(membership.receive(.ready(epoch: 4), from: b, at: start))?.workers == [b])
        #expect(membership.isServing(localExperts: false))
        #expect(sent(membership.tick(at: start, isSettled: true)).contains(.leave(reason: "released")))
        #expect(membership.pending?.workers == [b, newcomer, another].sorted())

        _ = membership.unreachable(another, at: start)
        let effects = membership.unreachable(b, at: start)
        #expect(published(effects)?.holders.allSatisfy(\.isEmpty) == true)
        let last = membership.pending
        #expect(last?.workers == [newcomer])
        #expect(published(membership.receive(.ready(epoch: last?.epoch ?? 0), from: newcomer, at: start)) == last)
    }

    @Test(
        "who is sent away is told why and forgotten at once, and those that serve take over; strangers are sent nowhere"
    )
    func sentAway() {
        var membership = membership()
        let (a, b) = (WorkerID(), WorkerID())
        for id in [a, b] { _ = membership.receive(join(), from: id, at: start) }
        for id in [a, b] { _ = membership.receive(.ready(epoch: 2), from: id, at: start) }
        #expect(sent(membership.expel(WorkerID(), reason: "test", at: start)).isEmpty)
        let effects = membership.expel(a, reason: "test", at: start)
        #expect(sent(effects).contains(.refuse(Refusal(cause: .unspecified, reason: "test"))))
        var other = membership
        #expect(sent(other.expel(b, reason: "test", isBanished: false, at: start)).contains(.leave(reason: "test")))
        #expect(effects.contains { if case .forget(a) = $0 { true } else { false } })
        #expect(Array(membership.members.keys) == [b] && membership.pending?.workers == [b])
        #expect(published(membership.receive(.ready(epoch: 3), from: b, at: start))?.workers == [b])
        #expect(dropped(membership.receive(.heartbeat, from: a, at: start)) == [.unknownSender])
    }

    @Test("when the last worker dies the coordinator owns everything again")
    func lastDies() {
        var membership = membership()
        let a = WorkerID()
        _ = membership.receive(join(), from: a, at: start)
        _ = membership.receive(.ready(epoch: 1), from: a, at: start)
        let placement = published(membership.unreachable(a, at: start))
        #expect(placement?.epoch == 2 && placement?.holders.allSatisfy(\.isEmpty) == true)
    }
}
