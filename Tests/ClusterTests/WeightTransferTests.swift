import Cluster
import Testing

/// One expert is three chunks here; its digests are its own.
private let chunkCount = 3
private let a = ExpertID(layer: 0, expert: 1), b = ExpertID(layer: 0, expert: 2), c = ExpertID(layer: 1, expert: 0)

private func digests(_ expert: ExpertID) -> [ChunkDigest] {
    (0..<chunkCount).map { [UInt8(expert.layer), UInt8(expert.expert), UInt8($0)] }
}

private func chunk(_ expert: ExpertID, _ index: Int) -> WeightTransfer.Event {
    .chunk(expert, index, digests(expert)[index])
}

@Suite struct WeightTransferTests {
    private let start = ContinuousClock.now

    /// A transfer that knows that none of the experts is here, and has asked for the manifests of the first.
    private func fetching(_ experts: [ExpertID]) -> WeightTransfer {
        var transfer = looking(experts)
        for expert in experts.sorted().prefix(WeightTransfer.width) {
            #expect(transfer.on(.claimed(expert, .mine), at: start) == [.ask(.manifest(expert))])
        }
        return transfer
    }

    /// A transfer that knows that none of the experts is here.
    private func looking(_ experts: [ExpertID]) -> WeightTransfer {
        var transfer = WeightTransfer(experts, chunkCount: chunkCount, at: start)
        for expert in experts.sorted() { _ = transfer.on(.looked(expert, isHere: false), at: start) }
        return transfer
    }

    /// The same, with the manifest of `a` and nothing left behind.
    private func fetchingChunks() -> WeightTransfer {
        var transfer = fetching([a])
        _ = transfer.on(.manifest(a, digests(a)), at: start)
        _ = transfer.on(.resumed(a, kept: []), at: start)
        return transfer
    }

    @Test("nothing is wanted: nothing is done")
    func nothing() {
        let transfer = WeightTransfer([], chunkCount: chunkCount, at: start)
        #expect(transfer.begin() == [] && transfer.isComplete)
    }

    @Test("every expert is looked for, one after the other, before anything is asked for")
    func looking() {
        var transfer = WeightTransfer([c, a, b], chunkCount: chunkCount, at: start)
        #expect(transfer.begin() == [.look(a)])
        #expect(transfer.on(.looked(a, isHere: false), at: start) == [.look(b)])
        #expect(transfer.on(.looked(a, isHere: true), at: start) == [], "only once")
        #expect(transfer.on(.looked(b, isHere: true), at: start) == [.look(c)])
        #expect(transfer.on(.tick, at: start + .seconds(100)) == [])
        #expect(transfer.on(.looked(c, isHere: false), at: start) == [.claim(a), .claim(c)])
        #expect(!transfer.isComplete)
    }

    @Test("what is all here needs no question")
    func allHere() {
        var transfer = WeightTransfer([a], chunkCount: chunkCount, at: start)
        #expect(transfer.on(.looked(a, isHere: true), at: start) == [])
        #expect(transfer.isComplete)
    }

    @Test("a manifest, what was left behind, the other chunks, the end")
    func fetch() {
        var transfer = fetching([a])
        #expect(transfer.on(.manifest(a, digests(a)), at: start) == [.resume(a, digests(a))])
        #expect(transfer.on(.resumed(a, kept: [1]), at: start) == [.ask(.chunk(a, 0)), .ask(.chunk(a, 2))])
        #expect(transfer.on(chunk(a, 2), at: start) == [.keep(a, 2)])
        #expect(!transfer.isComplete)
        #expect(transfer.on(chunk(a, 0), at: start) == [.keep(a, 0), .finish(a)])
        #expect(transfer.isComplete)
    }

    @Test("an expert that was left behind whole is finished at once, and the next one begun")
    func resumedWhole() {
        var transfer = fetching([a, b, c])
        _ = transfer.on(.manifest(a, digests(a)), at: start)
        #expect(
            transfer.on(.resumed(a, kept: [0, 1, 2]), at: start) == [.finish(a), .claim(c)])
    }

    @Test("so many experts are under way as keep the link busy, and no more")
    func width() {
        let experts = (0..<8).map { ExpertID(layer: 0, expert: $0) }
        var transfer = WeightTransfer(experts, chunkCount: chunkCount, at: start)
        var asked: [WeightTransfer.Action] = []
        for expert in experts { asked += transfer.on(.looked(expert, isHere: false), at: start) }
        #expect(asked.filter { if case .claim = $0 { true } else { false } }.count == WeightTransfer.width)
    }

    @Test("no more chunks are asked for than the window has room for")
    func window() {
        var transfer = WeightTransfer([a], chunkCount: 100, at: start)
        let digests = (0..<100).map { [UInt8($0)] }
        _ = transfer.on(.looked(a, isHere: false), at: start)
        _ = transfer.on(.claimed(a, .mine), at: start)
        _ = transfer.on(.manifest(a, digests), at: start)
        let size = ChunkWindow.sizes.lowerBound
        #expect(transfer.on(.resumed(a, kept: []), at: start) == (0..<size).map { .ask(.chunk(a, $0)) })
        for index in 0..<15 {
            let asked = transfer.on(.chunk(a, index, [UInt8(index)]), at: start)
            #expect(asked == [.keep(a, index), .ask(.chunk(a, index + size))])
        }
        let asked = transfer.on(.chunk(a, 15, [15]), at: start)
        #expect(asked == [.keep(a, 15)] + (15..<16 + size).map { .ask(.chunk(a, $0 + size)) }, "it doubles")
    }

    @Test("a manifest under way leaves the window to the chunks")
    func manifestBesideChunks() {
        var transfer = looking([a, b])
        _ = transfer.on(.claimed(a, .mine), at: start)
        _ = transfer.on(.claimed(b, .mine), at: start)
        _ = transfer.on(.manifest(a, digests(a)), at: start)
        let size = ChunkWindow.sizes.lowerBound
        #expect(transfer.on(.resumed(a, kept: []), at: start) == (0..<size).map { .ask(.chunk(a, $0)) })
    }

    @Test("what another brings is waited for, and not asked for")
    func others() {
        var transfer = looking([a, b, c])
        #expect(transfer.on(.claimed(a, .others), at: start) == [])
        #expect(transfer.on(.claimed(b, .mine), at: start) == [.ask(.manifest(b))])
        #expect(transfer.on(.tick, at: start) == [.claim(a)], "again and again")
        #expect(transfer.on(.claimed(a, .others), at: start) == [])
        #expect(transfer.on(.tick, at: start) == [.claim(a)])
        #expect(transfer.on(.claimed(a, .here), at: start) == [.claim(c)], "it came, and the next one's turn is")
        #expect(transfer.on(.claimed(c, .others), at: start) == [])
        #expect(transfer.on(.claimed(c, .mine), at: start) == [.ask(.manifest(c))], "another has given it up")
        #expect(transfer.on(.claimed(a, .mine), at: start) == [], "long finished")
        var alone = looking([a])
        _ = alone.on(.claimed(a, .others), at: start)
        #expect(alone.on(.tick, at: start + .seconds(100)) == [.claim(a)], "that is no silence of the coordinator's")
    }

    @Test("what another has taken over is begun anew when it gives that up")
    func takenOver() {
        var transfer = fetchingChunks()
        _ = transfer.on(chunk(a, 0), at: start)
        #expect(transfer.on(.claimed(a, .others), at: start) == [])
        #expect(transfer.on(chunk(a, 1), at: start) == [.drop(.unknownSequence)])
        #expect(transfer.on(.tick, at: start) == [.claim(a)])
        #expect(transfer.on(.claimed(a, .mine), at: start) == [.ask(.manifest(a))])
        #expect(transfer.on(.manifest(a, digests(a)), at: start) == [.resume(a, digests(a))])
        #expect(transfer.on(.resumed(a, kept: [0, 1, 2]), at: start) == [.finish(a)])
        #expect(transfer.isComplete)
    }

    @Test("nothing counts that was not asked for")
    func unasked() {
        var transfer = fetching([a])
        for event in [chunk(a, 0), chunk(b, 0), .manifest(b, digests(b))] as [WeightTransfer.Event] {
            #expect(transfer.on(event, at: start) == [.drop(.unknownSequence)])
        }
        #expect(transfer.on(.resumed(a, kept: [0, 1, 2]), at: start) == [], "before its manifest")
        #expect(transfer.on(.manifest(a, [[1]]), at: start) == [.drop(.wrongFrameSize)])
        _ = transfer.on(.manifest(a, digests(a)), at: start)
        #expect(transfer.on(.manifest(a, digests(a)), at: start) == [.drop(.unknownSequence)], "a second time")
        _ = transfer.on(.resumed(a, kept: []), at: start)
        #expect(transfer.on(.resumed(a, kept: [0]), at: start) == [], "a second time")
        _ = transfer.on(chunk(a, 0), at: start)
        #expect(transfer.on(chunk(a, 0), at: start) == [.drop(.unknownSequence)], "a second time")
    }

    @Test("a chunk with another digest is asked for again, and too many of them are the end")
    func mismatch() {
        var transfer = fetchingChunks()
        for _ in 0..<WeightTransfer.mostMismatches {
            #expect(transfer.on(.chunk(a, 1, [9]), at: start) == [.drop(.wrongDigest), .ask(.chunk(a, 1))])
        }
        #expect(transfer.on(.chunk(a, 1, [9]), at: start) == [.drop(.wrongDigest), .fail(a)])
    }

    @Test("a new connection asks again for what is under way")
    func reconnected() {
        var transfer = fetchingChunks()
        _ = transfer.on(chunk(a, 1), at: start)
        #expect(transfer.on(.reconnected, at: start) == [.ask(.chunk(a, 0)), .ask(.chunk(a, 2))])
        var early = fetching([a, b])
        #expect(early.on(.reconnected, at: start) == [.ask(.manifest(a)), .ask(.manifest(b))])
    }

    @Test("without any answer there is a new connection, with growing patience; an answer restores it")
    func patience() {
        var transfer = fetchingChunks()
        let least = WeightTransfer.patience.lowerBound
        #expect(transfer.on(.tick, at: start + least - .milliseconds(1)) == [])
        #expect(transfer.on(.tick, at: start + least) == [.reconnect])
        #expect(transfer.on(.tick, at: start + least * 2) == [])
        #expect(transfer.on(.tick, at: start + least * 3) == [.reconnect])
        _ = transfer.on(chunk(a, 0), at: start + least * 4)
        #expect(transfer.on(.tick, at: start + least * 5) == [.reconnect])
        var now = start + least * 5
        for _ in 0..<10 {
            now += WeightTransfer.patience.upperBound
            #expect(transfer.on(.tick, at: now) == [.reconnect], "it has an end")
        }
    }
}
