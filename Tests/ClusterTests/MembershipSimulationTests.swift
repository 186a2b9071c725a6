import Cluster
import TestSupport
import Testing
import Transformer

/// Workers come, load, leave and die in a random order, and in between messages fail to be sent.
@Suite struct MembershipSimulationTests {
    @Test("epochs only grow, and in the end everyone who is left takes part", arguments: 0..<300 as Range<UInt64>)
    func randomHistories(seed: UInt64) {
        var simulation = Simulation(seed: seed)
        for _ in 0..<60 { simulation.act() }
        for _ in 0..<10 { simulation.settle() }
        let membership = simulation.membership
        #expect(membership.pending == nil)
        #expect(Set(membership.placement.workers) == simulation.alive)
        #expect(Set(membership.members.keys) == simulation.alive)
        #expect(simulation.published == membership.placement.epoch)
        #expect(membership.isServing(localExperts: false) == !simulation.alive.isEmpty)
        let copies = min(membership.copies ?? 2, simulation.alive.count)
        #expect(membership.placement.holders.allSatisfy { $0.count == copies })
    }
}

private struct Simulation {
    var membership: Membership
    /// Connected, and not asked to leave.
    var alive: Set<WorkerID> = []
    /// The epoch of the placement that was published last.
    private(set) var published: UInt64 = 0
    private var leaving: Set<WorkerID> = []
    /// The newest epoch that a worker has been given and not yet loaded.
    private var loading: [WorkerID: UInt64] = [:]
    private var random: SeededGenerator
    private var now = ContinuousClock.now

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        membership = Membership(
            model: FakeModel.identity, precision: .int8, timing: ClusterTiming(), dataEndpoint: "tcp://127.0.0.1:9",
            copies: seed % 4 == 3 ? nil : Int(seed % 4) + 1)
    }

    mutating func act() {
        now += .milliseconds(10)
        let worker = alive.sorted().randomElement(using: &random)
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1:
            let id = WorkerID()
            alive.insert(id)
            let join = JoinRequest(
                // Each on a host of its own: those that die early are not held off.
                name: "\(id)", memoryBudget: .max, threads: 1, digest: FakeModel.identity.digest,
                shape: FakeModel.shape, precisions: [.int8])
            perform(membership.receive(.join(join), from: id, at: now))
        case 2:
            // Found out only when something is sent to it.
            if let worker { alive.remove(worker) }
        case 3:
            guard let worker else { return }
            alive.remove(worker)
            leaving.insert(worker)
            perform(membership.receive(.leave(reason: ""), from: worker, at: now))
        case 4: perform(membership.tick(at: now, isSettled: Bool.random(using: &random)))
        default:
            guard let id = loading.keys.sorted().randomElement(using: &random),
                let epoch = loading.removeValue(forKey: id)
            else { return }
            perform(membership.receive(.ready(epoch: epoch), from: id, at: now))
        }
    }

    /// Everyone who can be heard says that it is alive, and loads what it was given.
    mutating func settle() {
        now += membership.timing.heartbeatInterval
        for id in alive.union(leaving).sorted() { perform(membership.receive(.heartbeat, from: id, at: now)) }
        for id in loading.keys.sorted() {
            guard let epoch = loading.removeValue(forKey: id) else { continue }
            perform(membership.receive(.ready(epoch: epoch), from: id, at: now))
        }
        perform(membership.tick(at: now, isSettled: true))
    }

    private mutating func perform(_ effects: [Membership.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let message, let id): send(message, to: id)
            case .publish(let placement):
                #expect(placement.epoch > published)
                #expect(placement.workers.allSatisfy { membership.members[$0] != nil })
                published = placement.epoch
            default: break
            }
        }
    }

    private mutating func send(_ message: ControlMessage, to id: WorkerID) {
        guard alive.contains(id) || leaving.contains(id) else {
            loading[id] = nil
            return perform(membership.unreachable(id, at: now))
        }
        switch message {
        case .assign(let assignment): loading[id] = max(assignment.epoch, loading[id] ?? 0)
        case .leave:
            leaving.remove(id)
            loading[id] = nil
        default: break
        }
    }
}
