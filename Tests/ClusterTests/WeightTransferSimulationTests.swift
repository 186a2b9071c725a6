import Cluster
import TestSupport
import Testing

/// A worker that fetches experts over a network that loses, doubles, reorders and damages, and that is itself started
/// anew now and then, with what it had kept.
@Suite struct WeightTransferSimulationTests {
    @Test("whatever happens on the way, every expert ends up here, chunk by chunk as it is", arguments: 0..<200)
    func randomHistories(batch: Int) {
        for seed in batch * 50..<(batch + 1) * 50 {
            var simulation = Simulation(seed: UInt64(seed))
            simulation.run()
            #expect(simulation.transfer.isComplete, "seed \(seed)")
            #expect(simulation.here == Set(simulation.wanted), "seed \(seed)")
            #expect(!simulation.hasTakenWrongChunk, "seed \(seed)")
        }
    }
}

private struct Simulation {
    let wanted: [ExpertID]
    private let chunkCount: Int
    private(set) var transfer: WeightTransfer
    /// Whole.
    private(set) var here: Set<ExpertID> = []
    private(set) var hasTakenWrongChunk = false
    /// Kept, of experts that are not whole.
    private var kept: [ExpertID: Set<Int>] = [:]
    /// Answers on their way.
    private var network: [WeightTransfer.Event] = []
    private var random: SeededGenerator
    private var now = ContinuousClock.now
    private var damages = 0
    private var hasFailed = false

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        wanted = (0..<Int.random(in: 1...6, using: &random)).map { ExpertID(layer: $0 / 4, expert: $0 % 4) }
        chunkCount = Int.random(in: 1...20, using: &random)
        transfer = WeightTransfer(wanted, chunkCount: chunkCount, at: now)
    }

    private func digest(_ expert: ExpertID, _ index: Int) -> ChunkDigest {
        [UInt8(expert.layer), UInt8(expert.expert), UInt8(index)]
    }

    mutating func run() {
        perform(transfer.begin())
        for step in 0..<5000 where !transfer.isComplete {
            if step < 400 { act() } else { settle() }
            if hasFailed { restart() }
        }
    }

    private mutating func act() {
        now += .milliseconds(Int.random(in: 0...20, using: &random))
        switch Int.random(in: 0..<40, using: &random) {
        case 0: restart()
        case 1:
            network = []
            perform(transfer.on(.reconnected, at: now))
        case 2:
            now += WeightTransfer.patience.upperBound
            perform(transfer.on(.tick, at: now))
        default: deliver(isKind: false)
        }
    }

    /// From now on nothing is lost.
    private mutating func settle() {
        if network.isEmpty {
            now += WeightTransfer.patience.upperBound
            perform(transfer.on(.tick, at: now))
        }
        deliver(isKind: true)
    }

    /// One of the answers, in any order; or not at all, or twice, or not as it was sent.
    private mutating func deliver(isKind: Bool) {
        guard let index = network.indices.randomElement(using: &random) else { return }
        let answer = network.remove(at: index)
        let fate = isKind ? 9 : Int.random(in: 0..<10, using: &random)
        if fate == 0 { return }
        if fate == 1 { network.append(answer) }
        if fate == 2, damages < WeightTransfer.mostMismatches, case .chunk(let expert, let index, _) = answer {
            damages += 1
            return perform(transfer.on(.chunk(expert, index, [0xFF]), at: now))
        }
        perform(transfer.on(answer, at: now))
    }

    private mutating func restart() {
        network = []
        damages = 0
        hasFailed = false
        // A file of the cache may have been damaged meanwhile, and is then not here.
        if Bool.random(using: &random), let victim = here.sorted().randomElement(using: &random) { here.remove(victim) }
        transfer = WeightTransfer(wanted, chunkCount: chunkCount, at: now)
        perform(transfer.begin())
    }

    /// Another session may be at it, and bring it or not.
    private mutating func claim(_ expert: ExpertID) {
        if !here.contains(expert), Int.random(in: 0..<4, using: &random) == 0 {
            if Bool.random(using: &random) {
                here.insert(expert)
                kept[expert] = nil
            }
            return perform(transfer.on(.claimed(expert, .others), at: now))
        }
        perform(transfer.on(.claimed(expert, here.contains(expert) ? .here : .mine), at: now))
    }

    private mutating func perform(_ actions: [WeightTransfer.Action]) {
        for action in actions {
            switch action {
            case .look(let expert): perform(transfer.on(.looked(expert, isHere: here.contains(expert)), at: now))
            case .claim(let expert): claim(expert)
            case .ask(.manifest(let expert)):
                network.append(.manifest(expert, (0..<chunkCount).map { digest(expert, $0) }))
            case .ask(.chunk(let expert, let index)):
                network.append(.chunk(expert, index, digest(expert, index)))
            case .resume(let expert, _):
                perform(transfer.on(.resumed(expert, kept: kept[expert, default: []]), at: now))
            case .keep(let expert, let index):
                if here.contains(expert) || !kept[expert, default: []].insert(index).inserted {
                    hasTakenWrongChunk = true
                }
            case .finish(let expert):
                if kept[expert]?.count != chunkCount || !here.insert(expert).inserted { hasTakenWrongChunk = true }
                kept[expert] = nil
            case .reconnect:
                network = []
                perform(transfer.on(.reconnected, at: now))
            case .drop: break
            case .fail: hasFailed = true
            }
        }
    }
}
