import Cluster
import TestSupport
import Transformer

/// Membership and dispatch of one coordinator, with clock, network and workers simulated and broken as a seed says. The
/// network is worse than TCP: it loses, doubles and reorders single messages of rows.
final class DispatchSimulation {
    static let model = ModelIdentity(
        shape: ModelShape(layers: 2, experts: 4, hiddenSize: 32, intermediateSize: 32), digest: [1], bytesPerExpert: 1)
    private static let timing: ClusterTiming = {
        var timing = ClusterTiming()
        timing.heartbeatInterval = .milliseconds(100)
        timing.drainLimit = .milliseconds(1000)
        timing.banishment = .seconds(2)
        timing.batchDeadline = .milliseconds(100) ... .milliseconds(1000)
        return timing
    }()

    /// The first thing that was not as it should be.
    private(set) var problem: String?
    private(set) var faults = 0
    private(set) var rowsFromWorkers = 0, rowsComputedHere = 0
    private(set) var hedges = 0
    private(set) var accusations = 0

    /// Microseconds.
    var time = 0
    var random: SeededGenerator
    var workers: [SimulatedWorker] = []
    /// Of a hundred messages of rows, how many are lost, and how many come twice.
    var loss = 0
    /// At most, for a message of rows.
    var delay = 300
    /// Until then the coordinator's process does nothing.
    var frozenUntil = 0

    let hasLocalExperts: Bool, sharesWork: Bool
    private let begin = ContinuousClock.now
    private var membership: Membership
    private var dispatcher: Dispatcher
    private var published: Routes
    private var links: [WorkerID: WorkerLink] = [:]
    private var accused: Set<WorkerID> = []
    private var isComputing = false
    private var computedAt = 0
    private var network: [(time: Int, event: Event)] = []
    /// At the coordinator, and not looked at yet.
    private var arrived: [SimulatedWorker.Answer] = []
    private var faultsToCome: [(time: Int, fault: Fault)] = []
    private var nextTurn = 0
    private var rowsSoFar = 0
    private var batches = [SimulatedBatch(), SimulatedBatch()]

    private enum Event {
        case request(worker: Int, WorkerID, SimulatedWorker.Request)
        case computed(worker: Int, WorkerID, SimulatedWorker.Request)
        case answer(SimulatedWorker.Answer)
    }

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        hasLocalExperts = Int.random(in: 0..<4, using: &random) > 0
        let hedging: [DispatchOptions.Hedging] = [.never, .automatic, .after(.milliseconds(5))]
        sharesWork = Bool.random(using: &random)
        let options = DispatchOptions(
            hedging: hedging[Int.random(in: 0..<3, using: &random)], verifyRate: 1, sharesWork: sharesWork)
        membership = Membership(
            model: Self.model, precision: .int8, timing: Self.timing, dataEndpoint: "",
            copies: .random(in: 1...3, using: &random))
        published = Routes(membership.placement, links: [])
        dispatcher = Dispatcher(
            published, timing: Self.timing, hasLocalExperts: hasLocalExperts, options: options, seed: seed)
        for _ in 0..<Int.random(in: 1...4, using: &random) { addWorker() }
        for _ in 0..<Int.random(in: 1...8, using: &random) {
            schedule(.random(mayLie: hasLocalExperts, &random), after: .random(in: 0...1_000_000, using: &random))
        }
    }

    private var now: ContinuousClock.Instant { begin + .microseconds(time) }

    /// Steps among faults, then rest, and steps among none.
    func run() {
        while time < 1_000_000, problem == nil {
            step(mayFail: !hasLocalExperts)
            advance(by: .random(in: 0...100_000, using: &random))
        }
        faultsToCome = []
        (loss, delay) = (0, 300)
        for index in workers.indices { recover(index) }
        // Who died again and again is held off for some seconds.
        for _ in 0..<200 where !hasConverged { advance(by: 100_000) }
        expect(hasConverged, "not everyone takes part")
        for _ in 0..<4 where problem == nil { step(mayFail: !hasLocalExperts && alive.isEmpty) }
        expect(dispatcher.shares.count < 40, "shares leak")
    }

    /// Those who are connected.
    private var alive: [WorkerID] { workers.filter(\.isConnected).map(\.id).sorted() }

    /// Whether the coordinator knows exactly those who are there, all of them have experts, no liar is among them, and none
    /// is still at what it was asked for while it was slow.
    private var hasConverged: Bool {
        workers.allSatisfy { $0.isOver || $0.isConnected && !$0.isLeaving } && membership.pending == nil
            && membership.members.keys.sorted() == alive
            && membership.placement.workers.sorted() == alive && accused.isDisjoint(with: alive)
            && workers.allSatisfy { $0.busyUntil <= time }
    }

    private func expect(_ condition: Bool, _ what: @autoclosure () -> String) {
        if !condition, problem == nil { problem = "after \(time) µs: " + what() }
    }

    // MARK: Faults

    func addWorker() {
        workers.append(SimulatedWorker(id: .simulated(&random), host: "\(workers.count)", startAt: time))
    }

    func schedule(_ fault: Fault, after delay: Int) { faultsToCome.append((time + delay, fault)) }

    // MARK: The engine's thread

    /// Two micro-batches through both layers.
    private func step(mayFail: Bool) {
        isComputing = true
        defer {
            isComputing = false
            computedAt = time
        }
        if published !== dispatcher.routes { dispatcher.adopt(published) }
        receiveAnswers()
        do {
            for index in 0..<4 {
                if index >= 2 { try finish(batches[index % 2]) }
                advance(by: .random(in: 0...3000, using: &random))
                try start(batches[index % 2], layer: index / 2)
            }
            for batch in batches { try finish(batch) }
        } catch {
            expect(mayFail, "\(error)")
            dispatcher.abandonAll(at: now)
        }
    }

    private func start(_ batch: SimulatedBatch, layer: Int) throws {
        batch.begin(layer: layer, firstRow: rowsSoFar, &random)
        rowsSoFar += 10
        try dispatcher.begin(batch.batch, at: now)
        while let share = dispatcher.shareToSend(at: now) { send(share) }
    }

    private func finish(_ batch: SimulatedBatch) throws {
        var left = (dispatcher.routes.links.count + 1) * 1_200_000
        receiveAnswers()
        for _ in 0..<10_000 {
            if time < frozenUntil { advance(by: frozenUntil - time) }
            let before = time
            switch try dispatcher.next(at: now) {
            case .send(let share): send(share)
            case .compute:
                computeHere()
                advance(by: 200)
            case .wait(let milliseconds):
                advance(by: milliseconds * 1000, orAnswer: true)
                receiveAnswers()
            case .finished: return expect(batch.isRight, "a row is wrong, lost, or was taken twice")
            }
            left -= time - before
            expect(left > 0, "a batch waits for too long")
            if problem != nil { throw Stop() }
        }
        expect(false, "a batch does not end")
    }

    private struct Stop: Error {}

    private func send(_ index: Int) {
        let share = dispatcher.shares[index]
        let id = dispatcher.routes.links[share.worker].id
        guard let batch = dispatcher.batch(of: index), let simulated = batches.first(where: { $0.is(batch) }),
            let worker = workers.firstIndex(where: { $0.id == id && $0.isConnected })
        else { return dispatcher.unreachable(index, at: now) }
        let assignments = share.items.map { batch.assignments[Int($0.assignment)] }
        expect(!accused.contains(id), "an accused worker is asked")
        for assignment in assignments {
            let holders = dispatcher.routes.holders(layer: batch.layer, expert: Int(assignment.expert))
            expect(holders.contains(share.worker), "a worker is asked for an expert that it does not hold")
        }
        let request = SimulatedWorker.Request(
            epoch: dispatcher.routes.epoch, sequence: share.sequence, layer: batch.layer,
            rows: assignments.map { simulated.rows[Int($0.row)] }, experts: assignments.map { Int($0.expert) })
        transmit(.request(worker: worker, id, request))
        dispatcher.sent(index, bytes: 1, at: now)
    }

    private func computeHere() {
        guard let part = dispatcher.part, let batch = batches.first(where: { $0.is(part) }) else { return }
        expect(hasLocalExperts, "the coordinator computes without experts")
        rowsComputedHere += dispatcher.assignmentsHere.count
        for assignment in dispatcher.assignmentsHere { batch.take(batch.expected(assignment), assignment, from: nil) }
        dispatcher.computed()
    }

    private func receiveAnswers() {
        for answer in arrived { receive(answer) }
        arrived.removeAll(keepingCapacity: true)
    }

    /// As ``ClusterExperts`` takes an answer.
    private func receive(_ answer: SimulatedWorker.Answer) {
        guard let worker = dispatcher.worker(answer.id),
            let share = try? dispatcher.share(
                awaiting: answer.sequence, upTo: answer.values.map { answer.first + $0.count }, from: worker, at: now),
            answer.epoch == dispatcher.shares[share].epoch
        else { return }
        guard let values = answer.values else { return dispatcher.failed(share, at: now) }
        guard let part = dispatcher.shares[share].part(first: answer.first, count: values.count) else { return }
        guard !values.contains(SimulatedBatch.notFinite) else { return dispatcher.refused(share, part, at: now) }
        if let batch = dispatcher.batch(of: share), let simulated = batches.first(where: { $0.is(batch) }) {
            var wrong: Int?
            dispatcher.forEachToVerify(of: share, part) { position, assignment in
                if values[position] != simulated.expected(assignment) { wrong = wrong ?? position }
            }
            if let wrong {
                accused.insert(answer.id)
                accusations += 1
                for batch in batches { batch.takeBack(from: answer.id) }
                let item = dispatcher.shares[share].items[part.lowerBound + wrong]
                return dispatcher.accuse(share, of: item, at: now)
            }
            dispatcher.forEachItem(of: share, part) { position, missing in
                guard let assignment = missing else { return }
                expect(answer.epoch == dispatcher.routes.epoch, "a stale answer is taken")
                rowsFromWorkers += 1
                simulated.take(values[position], assignment, from: answer.id)
            }
        }
        dispatcher.answered(share, part, bytes: 1, at: now)
    }

    // MARK: Network and workers

    /// Returns when it arrives last, if ever.
    @discardableResult
    private func transmit(_ event: Event, notBefore earliest: Int = 0) -> Int {
        var latest = earliest
        for _ in 0..<(Int.random(in: 0..<100, using: &random) < loss ? 2 : 1)
        where Int.random(in: 0..<100, using: &random) >= loss {
            latest = max(latest, time + .random(in: 50...delay, using: &random))
            network.append((latest, event))
        }
        return latest
    }

    /// Lets time pass; not all of it when an answer comes, if that is wanted.
    private func advance(by duration: Int, orAnswer: Bool = false) {
        let end = time + duration
        while problem == nil {
            let event = network.indices.min { network[$0].time < network[$1].time }
            let fault = faultsToCome.indices.min { faultsToCome[$0].time < faultsToCome[$1].time }
            let next = min(
                nextTurn, event.map { network[$0].time } ?? .max, fault.map { faultsToCome[$0].time } ?? .max)
            guard next <= end else { break }
            time = max(time, next)
            if let fault, faultsToCome[fault].time == next {
                faults += 1
                faultsToCome.remove(at: fault).fault.strike(self)
            } else if let event, network[event].time == next {
                happen(network.remove(at: event).event)
                if orAnswer, !arrived.isEmpty { return }
            } else {
                nextTurn += 50_000
                turn()
            }
        }
        time = max(time, end)
    }

    private func happen(_ event: Event) {
        switch event {
        case .request(let worker, let id, let request):
            guard workers[worker].id == id, !workers[worker].isDeaf else { return }
            if workers[worker].isStopped { return workers[worker].waiting.append(request) }
            let start = max(time, workers[worker].busyUntil)
            let duration = Int.random(in: 200...1000, using: &random) * workers[worker].slowness
            workers[worker].busyUntil = start + duration
            network.append((start + duration, .computed(worker: worker, id, request)))
        case .computed(let worker, let id, let request):
            guard workers[worker].id == id, workers[worker].isConnected else { return }
            if workers[worker].isStopped { return workers[worker].waiting.append(request) }
            guard let answer = answer(to: request, by: worker), !workers[worker].isMute else { return }
            // In order, as on one connection.
            _ = answer.parts(&random).reduce(0) { transmit(.answer($1), notBefore: $0) }
        case .answer(let answer): arrived.append(answer)
        }
    }

    /// Nil where the epoch is not one that it was given.
    private func answer(to request: SimulatedWorker.Request, by worker: Int) -> SimulatedWorker.Answer? {
        guard let experts = workers[worker].experts(of: request.epoch) else { return nil }
        var answer = SimulatedWorker.Answer(id: workers[worker].id, epoch: request.epoch, sequence: request.sequence)
        guard request.experts.allSatisfy({ experts.contains(layer: request.layer, expert: $0) }) else { return answer }
        answer.values = zip(request.rows, request.experts).map { row, expert in
            let value = SimulatedBatch.value(layer: request.layer, expert: expert, row: row)
            guard Int.random(in: 0..<1000, using: &random) < workers[worker].errors else { return value }
            return Bool.random(using: &random) ? SimulatedBatch.notFinite : value ^ 1
        }
        return answer
    }

    /// What arrived while a worker was stopped comes when it goes on.
    func recover(_ worker: Int) {
        workers[worker].recover()
        workers[worker].isStopped = false
        for request in workers[worker].waiting {
            network.append((time, .request(worker: worker, workers[worker].id, request)))
        }
        workers[worker].waiting = []
    }

    // MARK: The control thread

    private func turn() {
        for index in workers.indices {
            workers[index].turn(at: time, &random)
            guard !workers[index].isMute, !workers[index].isStopped, time >= frozenUntil else { continue }
            let id = workers[index].id
            let messages = workers[index].toCoordinator
            workers[index].toCoordinator.removeAll(keepingCapacity: true)
            for message in messages { perform(membership.receive(message, from: id, at: now)) }
        }
        guard time >= frozenUntil else { return }
        for (id, link) in links {
            guard let accusation = link.accusation else { continue }
            perform(membership.expel(id, reason: accusation, at: now))
        }
        let isSettled =
            dispatcher.routes === published || !isComputing && time - computedAt > 1_000_000
        perform(membership.tick(at: now, isSettled: isSettled))
    }

    private func perform(_ effects: [Membership.Effect]) {
        var queue = effects[...]
        while let effect = queue.popFirst() {
            switch effect {
            case .send(let message, let id):
                if let worker = workers.firstIndex(where: { $0.id == id && $0.isConnected }) {
                    workers[worker].fromCoordinator.append(message)
                } else {
                    queue += membership.unreachable(id, at: now)
                }
            case .publish(let placement): publish(placement)
            case .suspend(let id): links[id]?.availability = .suspect
            case .resume(let id): links[id]?.availability = .available
            case .forget(let id):
                guard let link = links.removeValue(forKey: id) else { continue }
                link.availability = .gone
                hedges += link.traffic.hedges
            default: break
            }
        }
    }

    private func publish(_ placement: Placement) {
        expect(placement.epoch > published.epoch, "an epoch goes back")
        for worker in workers where placement.workers.contains(worker.id) {
            expect(
                worker.holds(placement.epoch, exactly: placement.experts(of: worker.id)),
                "a placement is published that was not loaded")
        }
        published = Routes(
            placement,
            links: placement.workers.map { id in
                let link = links[id] ?? WorkerLink(id: id)
                if membership.members[id]?.liveness.state == .suspect { link.availability = .suspect }
                links[id] = link
                return link
            })
    }
}
