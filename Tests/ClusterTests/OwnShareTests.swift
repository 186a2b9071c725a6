import Cluster
import TestSupport
import Testing
import Transformer

/// A coordinator that computes a share of each batch, with a clock of its own: work is counted as ``LoadBalancer`` does, and
/// done at given speeds.
private struct TimedCluster {
    static let shape = ModelShape(layers: 1, experts: 32, hiddenSize: 64, intermediateSize: 64)

    var dispatcher: Dispatcher
    /// Work in a second, of each worker and of the coordinator.
    var speeds: [Double], ownSpeed: Double
    /// Seconds for the way there and back, and of other work of the coordinator's before it can begin with its share.
    var way = 0.0, lead = 0.0
    private(set) var rowsHere = 0, rows = 0
    private var now = ContinuousClock.now
    private var random = SeededGenerator(seed: 1)

    init(speeds: [Double], own: Double, way: Double = 0, lead: Double = 0, sharesWork: Bool = true) {
        (self.speeds, ownSpeed, self.way, self.lead) = (speeds, own, way, lead)
        let candidates = speeds.map { Placement.Candidate(id: WorkerID(), capacity: .max, weight: Int($0)) }
        let placement = Placement(
            epoch: 1, shape: Self.shape, candidates: candidates, previous: Placement(epoch: 0, shape: Self.shape)
        ).replicated(epoch: 2, copies: speeds.count)
        self.speeds = placement.candidates.map { Double($0.weight) }
        dispatcher = Dispatcher(
            Routes(placement, links: placement.workers.map { WorkerLink(id: $0) }), timing: ClusterTiming(),
            hasLocalExperts: true, options: DispatchOptions(hedging: .never, verifyRate: 0, sharesWork: sharesWork),
            seed: 1)
    }

    private struct SentLate: Error {}

    private static func work(_ experts: some Sequence<Int32>) -> Double {
        var rows = 0
        var distinct: Set<Int32> = []
        for expert in experts {
            rows += 1
            distinct.insert(expert)
        }
        return Double(rows + LoadBalancer.readingInRows * distinct.count)
    }

    /// The mean of the seconds that batches of `tokens`, four experts each, take once the share has been found.
    mutating func seconds(tokens: Int) throws -> Double {
        for _ in 0..<300 { _ = try run(tokens: tokens) }
        (rowsHere, rows) = (0, 0)
        return try (0..<3000).reduce(0) { sum, _ in try sum + run(tokens: tokens) } / 3000
    }

    private mutating func run(tokens: Int) throws -> Double {
        let assignments = (0..<tokens).flatMap { token in
            (0..<32).shuffled(using: &random).prefix(4).map { (token, $0) }
        }.enumerated().map { ExpertAssignment(row: Int32($1.0), expert: Int32($1.1), slot: Int32($0)) }
        rows += assignments.count
        let begin = now
        try assignments.withUnsafeBufferPointer { assignments in
            let memory = try UnsafeMutableRawPointer(mutating: #require(UnsafeRawPointer(assignments.baseAddress)))
            try dispatcher.begin(
                ExpertBatch(
                    layer: 0, rowCount: tokens, values: memory, scales: memory, assignments: assignments,
                    outputs: memory), at: now)
            var answers: [(share: Int, time: ContinuousClock.Instant)] = []
            while let share = dispatcher.shareToSend(at: now) {
                let items = dispatcher.shares[share].items
                dispatcher.sent(share, bytes: 0, at: now)
                let work = Self.work(items.lazy.map { assignments[Int($0.assignment)].expert })
                answers.append((share, now + .seconds(way + work / speeds[dispatcher.shares[share].worker])))
            }
            now += .seconds(lead)
            while true {
                for answer in answers where answer.time <= now {
                    let count = dispatcher.shares[answer.share].items.count
                    dispatcher.answered(answer.share, 0..<count, bytes: 0, at: now)
                }
                answers.removeAll { $0.time <= now }
                switch try dispatcher.next(at: now) {
                case .finished: return
                case .send: throw SentLate()
                case .compute:
                    now += .seconds(Self.work(dispatcher.assignmentsHere.lazy.map(\.expert)) / ownSpeed)
                    rowsHere += dispatcher.assignmentsHere.count
                    dispatcher.computed()
                case .wait: now = answers.map(\.time).min() ?? now
                }
            }
        }
        return (now - begin) / .seconds(1)
    }
}

@Suite struct OwnShareTests {
    /// Work of a batch that reaches every expert.
    private static let work = 128.0 * 4 + 6 * 32

    @Test(
        "what takes the time of everyone together is found, however fast the coordinator is beside its workers",
        arguments: [[1000.0], [1000, 1000], [1000, 3000]], [200.0, 1000, 4000])
    func balance(speeds: [Double], own: Double) throws {
        var cluster = TimedCluster(speeds: speeds, own: own)
        let seconds = try cluster.seconds(tokens: 128)
        let least = Self.work / (speeds.reduce(0, +) + own)
        #expect((least * 0.99...least * 1.15).contains(seconds), "\(seconds) s of \(least)")
    }

    @Test(
        "batches of few experts take no longer than with workers alone, however slow the coordinator is",
        arguments: [1, 2, 8], [1.0, 50, 200, 1000])
    func few(tokens: Int, own: Double) throws {
        var alone = TimedCluster(speeds: [1000, 1000], own: own, sharesWork: false)
        var cluster = TimedCluster(speeds: [1000, 1000], own: own)
        let (seconds, most) = try (cluster.seconds(tokens: tokens), alone.seconds(tokens: tokens))
        #expect(alone.rowsHere == 0 && seconds < most * 1.05, "\(seconds) s, and \(most)")
        if own == 1000, tokens > 1 { #expect(seconds < most * 0.9, "\(seconds) s, and \(most)") }
    }

    @Test("the way to the workers and back is time in which the coordinator does more, and attention in between less")
    func wayAndAttention() throws {
        // Of the speeds' 2000 in a second.
        var distant = TimedCluster(speeds: [1000], own: 1000, way: 0.2)
        #expect(try (0.99...1.15).contains(distant.seconds(tokens: 128) / ((Self.work + 200) / 2000)))
        var attentive = TimedCluster(speeds: [1000], own: 1000, lead: 0.2)
        #expect(try (0.99...1.15).contains(attentive.seconds(tokens: 128) / ((Self.work + 200) / 2000)))
        #expect(attentive.rowsHere < distant.rowsHere)
    }

    @Test("what takes longer to send than to compute stays here, but for a try now and then")
    func tooFar() throws {
        var cluster = TimedCluster(speeds: [1000, 1000], own: 1000, way: 0.1)
        let alone = 4 * 7.0 / 1000
        let seconds = try cluster.seconds(tokens: 1)
        #expect((alone...alone * 1.5).contains(seconds), "\(seconds) s of \(alone)")
        #expect(cluster.rowsHere > cluster.rows * 95 / 100 && cluster.rowsHere < cluster.rows)
        cluster.way = 0
        for _ in 0..<3 { _ = try cluster.seconds(tokens: 1) }
        let later = try cluster.seconds(tokens: 1)
        #expect(later < alone * 0.7, "the network has become faster; \(later) s of \(alone)")
    }

    @Test("batches of different sizes have shares of their own, between almost nothing and almost all")
    func sizes() {
        var share = OwnShare()
        let few = OwnShare.Kind(assignments: 4, isBesideAnother: false)
        let many = OwnShare.Kind(assignments: 2048, isBesideAnother: false)
        let overlapped = OwnShare.Kind(assignments: 4, isBesideAnother: true)
        let begin = share.weight(many)
        for _ in 0..<1000 {
            share.learn(.first, few, seconds: 1)
            share.learn(.last, overlapped, seconds: 1)
        }
        #expect(share.weight(few) == OwnShare.weights.upperBound)
        #expect(share.weight(overlapped) == OwnShare.weights.lowerBound)
        #expect(share.weight(many) == begin)
    }
}
