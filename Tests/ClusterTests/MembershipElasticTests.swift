import Cluster
import Testing
import Transformer

/// Workers that flap, stall and differ in speed.
@Suite struct MembershipElasticTests {
    private let start = ContinuousClock.now
    private let model = FakeModel.identity

    private func membership(copies: Int? = 1, localExperts: Bool = true) -> Membership {
        Membership(
            model: model, precision: .int8, timing: ClusterTiming(), dataEndpoint: "tcp://127.0.0.1:9", copies: copies,
            localExperts: localExperts)
    }

    private func join(_ name: String, threads: Int = 1, experts: Int? = nil) -> ControlMessage {
        .join(
            JoinRequest(
                name: name, memoryBudget: experts.map { UInt64($0 * model.bytesPerExpert) } ?? .max, threads: threads,
                digest: model.digest, shape: model.shape, precisions: Precision.allCases))
    }

    /// Takes workers in, which load whatever they are given.
    private func add(
        _ names: [String], to membership: inout Membership, at now: ContinuousClock.Instant, experts: Int? = nil
    ) -> [WorkerID] {
        let ids = names.map { _ in WorkerID() }
        for (id, name) in zip(ids, names) { _ = membership.receive(join(name, experts: experts), from: id, at: now) }
        settle(&membership, at: now)
        return ids
    }

    private func settle(_ membership: inout Membership, at now: ContinuousClock.Instant) {
        for _ in 0..<10 {
            guard let pending = membership.pending else { return }
            for id in pending.workers { _ = membership.receive(.ready(epoch: pending.epoch), from: id, at: now) }
        }
    }

    private func logged(_ effects: [Membership.Effect]) -> [String] {
        effects.compactMap { if case .log(_, let message, _) = $0 { message } else { nil } }
    }

    /// Lets time pass, in which all members are heard, and, if they are, load what they are given.
    private func pass(
        _ time: Duration, _ membership: inout Membership, from now: ContinuousClock.Instant, areLoading: Bool = false,
        rows: [UInt64] = [], totals: (WorkerID, Int) -> ComputeTotals? = { _, _ in nil }
    ) -> [Membership.Effect] {
        var effects: [Membership.Effect] = []
        let beats = Int((time / membership.timing.heartbeatInterval).rounded(.up))
        for beat in 1...max(1, beats) {
            let moment = now + min(time, membership.timing.heartbeatInterval * beat)
            for id in membership.members.keys.sorted() {
                let message = totals(id, beat).map(ControlMessage.computed) ?? .heartbeat
                effects += membership.receive(message, from: id, at: moment)
            }
            effects += membership.tick(at: moment, isSettled: true) { rows }
            if areLoading { settle(&membership, at: moment) }
        }
        return effects
    }

    @Test("a worker that is killed once is back at once; one that goes on dying is held off longer each time")
    func flapping() {
        var membership = membership()
        var now = start
        for expected in [0, 0, 1, 2, 4] as [Int] {
            let id = WorkerID()
            let effects = membership.receive(join("host:\(now)"), from: id, at: now)
            #expect(membership.members[id]?.liveness.state == (expected == 0 ? .loading : .held))
            if expected > 0 {
                #expect(membership.members[id]?.hold == .flapping && membership.pending == nil)
                #expect(logged(effects).contains { $0.contains("held off") })
                _ = pass(.seconds(expected) - .milliseconds(1), &membership, from: now)
                #expect(membership.members[id]?.liveness.state == .held)
                now += .seconds(expected)
                _ = membership.tick(at: now, isSettled: true)
            }
            #expect(membership.members[id]?.liveness.state == .loading && membership.members[id]?.hold == nil)
            #expect(membership.pending?.workers == [id])
            settle(&membership, at: now)
            _ = membership.unreachable(id, at: now)
        }
        let other = WorkerID()
        _ = membership.receive(join("elsewhere:7"), from: other, at: now)
        #expect(membership.members[other]?.liveness.state == .loading)
    }

    @Test("who serves for a while has proved itself, and may die and come back at once")
    func proven() {
        var membership = membership()
        var now = start
        for _ in 0..<5 {
            let id = add(["host:1"], to: &membership, at: now)[0]
            #expect(membership.placement.workers == [id])
            _ = pass(membership.timing.provenAfter, &membership, from: now)
            now += membership.timing.provenAfter
            _ = membership.unreachable(id, at: now)
        }
    }

    @Test("those without whom requests would have to wait are not held off, except those that were sent away")
    func needed() {
        var membership = membership(localExperts: false)
        for _ in 0..<4 {
            let id = WorkerID()
            _ = membership.receive(join("host:1"), from: id, at: start)
            _ = membership.tick(at: start, isSettled: true)
            #expect(membership.members[id]?.liveness.state == .loading)
            _ = membership.unreachable(id, at: start)
        }
        let id = add(["other:1"], to: &membership, at: start)[0]
        _ = membership.expel(id, reason: "test", at: start)
        let again = WorkerID()
        _ = membership.receive(join("other:2"), from: again, at: start)
        _ = membership.tick(at: start, isSettled: true)
        #expect(membership.members[again]?.hold == .banished)
        _ = pass(membership.timing.banishment, &membership, from: start)
        #expect(membership.members[again]?.liveness.state == .loading)
    }

    @Test("who is sent away because of its key is judged by its key alone")
    func revoked() {
        var membership = membership()
        let id = add(["host:1"], to: &membership, at: start)[0]
        _ = membership.expel(id, reason: "test", isBanished: false, at: start)
        #expect(add(["host:1"], to: &membership, at: start) == membership.placement.workers)
    }

    @Test("with keys, who dies is known by the key, whatever its name")
    func byKey() throws {
        var membership = membership()
        let keys = try (0..<2).map { _ in try KeyPair.generate().publicKey }
        for attempt in 0..<3 {
            let id = WorkerID()
            _ = membership.receive(join("host\(attempt):1"), from: id, key: keys[0], at: start)
            #expect(membership.members[id]?.liveness.state == (attempt < 2 ? .loading : .held))
            _ = membership.unreachable(id, at: start)
        }
        let id = WorkerID()
        _ = membership.receive(join("host0:1"), from: id, key: keys[1], at: start)
        #expect(membership.members[id]?.liveness.state == .loading)
    }

    @Test("without keys neither one that flaps nor one that was sent away shuts out its neighbours on the host")
    func neighbours() {
        var membership = membership()
        let ids = add(["host:1", "host:2", "host:3"], to: &membership, at: start)
        _ = membership.expel(ids[0], reason: "test", at: start)
        let proven = start + membership.timing.provenAfter
        _ = pass(membership.timing.provenAfter, &membership, from: start, areLoading: true)
        _ = membership.unreachable(ids[1], at: proven)
        // The neighbour is back first, then the one that was sent away, which takes the place that is left.
        let (neighbour, culprit, newcomer) = (WorkerID(), WorkerID(), WorkerID())
        for (id, name) in [(neighbour, "host:4"), (culprit, "host:5"), (newcomer, "host:6")] {
            _ = membership.receive(join(name), from: id, at: proven)
        }
        #expect(membership.members[neighbour]?.hold == nil)
        #expect(membership.members[culprit]?.hold == .banished)
        #expect(membership.members[newcomer]?.hold == nil)
        settle(&membership, at: proven)
        #expect(Set(membership.placement.workers) == [ids[2], neighbour, newcomer])
        // One that goes on dying is held off, and the one beside it is not when it is started again.
        var now = proven
        for _ in 0..<4 {
            let id = WorkerID()
            _ = membership.receive(join("other:1"), from: id, at: now)
            if membership.members[id]?.hold == nil { settle(&membership, at: now) }
            _ = membership.unreachable(id, at: now)
            now += .seconds(1)
        }
        let (flapping, beside) = (WorkerID(), WorkerID())
        for id in [flapping, beside] { _ = membership.receive(join("other:1"), from: id, at: now - .milliseconds(1)) }
        #expect(membership.members[flapping]?.hold == .flapping && membership.members[beside]?.hold == nil)
    }

    @Test("without keys a process that joins again is known, whoever else is missing on its host")
    func sameProcess() {
        var membership = membership()
        func join(_ process: UInt64) -> WorkerID {
            let id = WorkerID(of: process)
            _ = membership.receive(self.join("host:1"), from: id, at: start)
            return id
        }
        let (first, second) = (join(1 << 32), join(2 << 32))
        for id in [first, second] { _ = membership.unreachable(id, at: start) }
        for deaths in 1...3 {
            let id = join(1 << 32)
            #expect(membership.members[id]?.hold == (deaths < 2 ? nil : .flapping))
            _ = membership.unreachable(id, at: start)
        }
        let other = join(2 << 32)
        #expect(membership.members[other]?.hold == nil)
    }

    @Test("who does not come further with loading is left out, so that others go on, and tried again later")
    func stalled() {
        var membership = membership()
        let first = add(["a:1"], to: &membership, at: start)
        let (stuck, late) = (WorkerID(), WorkerID())
        _ = membership.receive(join("b:1"), from: stuck, at: start)
        _ = membership.receive(join("c:1"), from: late, at: start)
        // One of them comes further, and is waited for.
        let limit = membership.timing.loadingLimit
        for id in first + [late] {
            _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: id, at: start)
        }
        let half = start + limit / 2
        _ = pass(limit / 2, &membership, from: start)
        _ = membership.receive(.loading(LoadingProgress(loaded: 1, wanted: 2, received: 1)), from: stuck, at: half)
        _ = pass(limit - .milliseconds(1), &membership, from: half)
        #expect(membership.members[stuck]?.liveness.state == .loading)
        var now = half + limit
        let effects = membership.tick(at: now, isSettled: true)
        #expect(membership.members[stuck]?.hold == .stalled)
        #expect(logged(effects).contains { $0.contains("does not come further with loading") })
        settle(&membership, at: now)
        #expect(membership.placement.workers == (first + [late]).sorted() && membership.pending == nil)
        // Tried again, it holds them up no longer than before.
        for round in 1...3 {
            let end = membership.members[stuck]?.liveness.heldUntil ?? now
            #expect(now.duration(to: end) == limit * (1 << round))
            _ = pass(now.duration(to: end), &membership, from: now)
            #expect(membership.members[stuck]?.liveness.state == .loading)
            for id in first + [late] {
                _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: id, at: end)
            }
            if round == 3 {
                settle(&membership, at: end)
                #expect(membership.placement.workers == (first + [late, stuck]).sorted())
            }
            _ = pass(limit, &membership, from: end)
            now = end + limit
            settle(&membership, at: now)
        }
        #expect(membership.placement.workers.contains(stuck))
    }

    @Test("others that come and go give no more time to who does not come further with loading")
    func stalledAmongFlapping() {
        var membership = membership()
        let stuck = WorkerID()
        _ = membership.receive(join("b:1"), from: stuck, at: start)
        let limit = membership.timing.loadingLimit
        var now = start
        var left: ContinuousClock.Instant?
        for visit in 1...12 {
            let visitor = WorkerID()
            _ = membership.receive(join("c\(visit):1"), from: visitor, at: now)
            _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: visitor, at: now)
            // With every plan it begins again, and soon has what is there already.
            for loaded in [0, 6, 12] as [UInt64] {
                let progress = LoadingProgress(loaded: min(loaded, visit % 2 == 0 ? 6 : 12), wanted: 24, received: 0)
                _ = membership.receive(.loading(progress), from: stuck, at: now)
            }
            _ = pass(limit / 6, &membership, from: now)
            now += limit / 6
            if membership.members[stuck]?.hold == .stalled { left = left ?? now }
            _ = membership.unreachable(visitor, at: now)
        }
        #expect(left.map { start.duration(to: $0) <= limit * 7 / 6 } == true)
    }

    @Test("a plan that is overtaken gives who waits behind it the time it had left, not less")
    func waitingStandsStill() {
        var waiting = WaitingTime()
        #expect(waiting.elapsed(at: start) == nil)
        waiting.wait(at: start)
        waiting.pause(at: start + .seconds(10))
        #expect(waiting.elapsed(at: start + .seconds(50)) == nil)
        waiting.wait(at: start + .seconds(60))
        waiting.wait(at: start + .seconds(61))
        #expect(waiting.elapsed(at: start + .seconds(65)) == .seconds(15))
        waiting.restart(at: start + .seconds(65))
        #expect(waiting.elapsed(at: start + .seconds(66)) == .seconds(1))
        waiting.pause(at: start + .seconds(67))
        waiting.restart(at: start + .seconds(68))
        #expect(waiting.elapsed(at: start + .seconds(69)) == nil)
        waiting.wait(at: start + .seconds(70))
        #expect(waiting.elapsed(at: start + .seconds(70)) == .zero)
    }

    @Test(
        "where nothing is served meanwhile who does not come further is left out soon, if the others can hold everything",
        arguments: [(24, true, false), (24, false, true), (23, false, false)])
    func stalledWhileNothingIsServed(room: Int, localExperts: Bool, isLeftOut: Bool) {
        var membership = membership(localExperts: localExperts)
        let (stuck, other) = (WorkerID(), WorkerID())
        _ = membership.receive(join("a:1"), from: stuck, at: start)
        _ = membership.receive(join("b:1", experts: room), from: other, at: start)
        _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: other, at: start)
        let soon = membership.timing.loadingLimit / 2
        _ = pass(soon + .milliseconds(100), &membership, from: start)
        #expect((membership.members[stuck]?.hold == .stalled) == isLeftOut)
        guard isLeftOut else { return }
        settle(&membership, at: start + soon + .milliseconds(100))
        #expect(membership.placement.workers == [other] && membership.isServing(localExperts: false))
    }

    @Test("who has served is given its time, though nothing is served meanwhile")
    func servingAndSlow() {
        var membership = membership(localExperts: false)
        let ids = add(["a:1", "b:1", "c:1"], to: &membership, at: start)
        _ = membership.unreachable(ids[2], at: start)
        _ = membership.receive(.ready(epoch: membership.pending?.epoch ?? 0), from: ids[0], at: start)
        _ = pass(membership.timing.loadingLimit - .milliseconds(100), &membership, from: start)
        #expect(!membership.isServing(localExperts: false) && membership.members[ids[1]]?.hold == nil)
    }

    @Test("measured speeds decide shares, once steps get faster by it; noise moves nothing")
    func speeds() {
        var membership = membership()
        let ids = add(["a:1", "b:1"], to: &membership, at: start)
        #expect(membership.placement.counts == [12, 12])
        func totals(_ speeds: [Double]) -> (WorkerID, Int) -> ComputeTotals {
            { id, beat in
                ComputeTotals(
                    work: UInt64(speeds[id == ids[0] ? 0 : 1] * Double(beat) * 0.1),
                    nanoseconds: UInt64(beat) * 100_000_000)
            }
        }
        let interval = membership.timing.rebalanceInterval
        _ = pass(interval * 2, &membership, from: start, areLoading: true, totals: totals([10_000, 10_500]))
        #expect(membership.pending == nil && membership.placement.counts == [12, 12])
        let effects = pass(
            interval * 2, &membership, from: start + interval * 2, areLoading: true, totals: totals([10_000, 30_000]))
        #expect(logged(effects).contains("the experts are shared out anew"))
        #expect(ids.map { membership.placement.experts(of: $0).count } == [6, 18])
        let epoch = membership.placement.epoch
        _ = pass(
            interval * 3, &membership, from: start + interval * 4, areLoading: true, totals: totals([10_300, 29_000]))
        #expect(membership.placement.epoch == epoch && membership.pending == nil)
        // Who comes is taken for as fast as the others' threads.
        let newcomer = add(["c:1"], to: &membership, at: start + interval * 7)[0]
        #expect(membership.placement.experts(of: newcomer).count == 8)
    }

    @Test("hot experts get copies, cold ones give theirs up for them, and only while that helps")
    func loads() {
        var membership = membership(copies: nil)
        // Room for 30 copies of 24 experts.
        _ = add(["a:1", "b:1", "c:1"], to: &membership, at: start, experts: 10)
        #expect(membership.placement.counts == [10, 10, 10])
        var rows = [UInt64](repeating: 1000, count: 24)
        for layer in 0..<3 { rows[layer * 8 + 7] = 20_000 }
        let interval = membership.timing.rebalanceInterval
        _ = pass(interval * 2, &membership, from: start, areLoading: true, rows: rows)
        #expect(membership.placement.counts.allSatisfy { $0 <= 10 } && membership.placement.unowned == 0)
        for layer in 0..<3 { #expect(membership.placement.holders(layer: layer, expert: 7).count >= 2) }
        let epoch = membership.placement.epoch
        #expect(epoch > 4)
        rows = rows.map { $0 * 2 }
        _ = pass(interval * 3, &membership, from: start + interval * 2, areLoading: true, rows: rows)
        #expect(membership.placement.epoch == epoch && membership.pending == nil)
    }
}
