/// How a worker gets the experts that it is to have, from its cache and from the coordinator: a pure value, without
/// sockets, files or clocks.
///
/// First every expert is looked for. Then those that are not here are claimed, one after the other, for another
/// coordinator's transfer may be bringing them; and asked for: its manifest, then the chunks that an earlier attempt has
/// not left behind. What brings no answer is asked again. Nothing counts that was not asked for, nor any chunk without
/// the digest that the manifest gives it.
package struct WeightTransfer: Sendable {
    package enum Event: Sendable {
        /// The answer to ``Action/look(_:)``.
        case looked(ExpertID, isHere: Bool)
        /// The answer to ``Action/claim(_:)``, or the claim is another's by now.
        case claimed(ExpertID, ExpertClaim)
        /// A manifest came.
        case manifest(ExpertID, [ChunkDigest])
        /// The answer to ``Action/resume(_:_:)``: the chunks that are here, and intact.
        case resumed(ExpertID, kept: Set<Int>)
        /// A chunk came, whose bytes have this digest.
        case chunk(ExpertID, Int, ChunkDigest)
        /// There is a new connection: answers that were under way are lost.
        case reconnected
        case tick
    }

    package enum Action: Sendable, Equatable {
        /// See whether the expert is here already, and intact.
        case look(ExpertID)
        /// See whether the expert is to be fetched from here, and keep others from it.
        case claim(ExpertID)
        case ask(WeightsMessage)
        /// Nothing comes over this connection any more: make another.
        case reconnect
        /// See which chunks an earlier attempt has left behind.
        case resume(ExpertID, [ChunkDigest])
        /// The chunk that has just come is right.
        case keep(ExpertID, Int)
        /// All chunks of the expert are here.
        case finish(ExpertID)
        /// What has just come is worth nothing.
        case drop(DropCause)
        /// The coordinator's weights are not what its manifest says.
        case fail(ExpertID)
    }

    /// An expert that was claimed.
    private struct Fetch {
        /// Another transfer brings it.
        var isOthers = false
        var digests: [ChunkDigest] = []
        /// The last to be asked for first.
        var unasked: [Int] = []
        var missing = 0
    }

    /// So many experts are under way at once, so that there is always something to ask for.
    package static let width = 2
    /// So many chunks with wrong digests are borne.
    package static let mostMismatches = 8
    /// After such a time without any answer there is to be a new connection, then with growing patience.
    package static let patience = Duration.seconds(5) ... .seconds(60)

    private let chunkCount: Int
    /// To be looked for, and to be fetched; the last first.
    private var unseen: [ExpertID], absent: [ExpertID] = []
    private var fetches: [ExpertID: Fetch] = [:]
    private var asked: [WeightsMessage: ContinuousClock.Instant] = [:]
    private var window = ChunkWindow()
    private var mismatches = 0
    private var patience = Self.patience.lowerBound
    private var lastAnswer: ContinuousClock.Instant

    /// - Parameters:
    ///   - experts: what this worker is to have.
    ///   - chunkCount: chunks of each.
    package init(_ experts: [ExpertID], chunkCount: Int, at now: ContinuousClock.Instant) {
        self.chunkCount = chunkCount
        unseen = experts.sorted(by: >)
        lastAnswer = now
    }

    /// Whether every expert is here.
    package var isComplete: Bool { unseen.isEmpty && absent.isEmpty && fetches.isEmpty }

    /// What to do first.
    package func begin() -> [Action] { unseen.last.map { [.look($0)] } ?? [] }

    package mutating func on(_ event: Event, at now: ContinuousClock.Instant) -> [Action] {
        switch event {
        case .looked(let expert, let isHere):
            guard unseen.last == expert else { return [] }
            unseen.removeLast()
            if !isHere { absent.append(expert) }
            if !unseen.isEmpty { return begin() }
            absent.sort(by: >)
            return askMore(at: now)
        case .claimed(let expert, let claim): return claimed(expert, claim, at: now)
        case .manifest(let expert, let digests):
            guard digests.count == chunkCount else { return [.drop(.wrongFrameSize)] }
            guard answered(.manifest(expert), at: now) != nil else { return [.drop(.unknownSequence)] }
            fetches[expert]?.digests = digests
            return [.resume(expert, digests)]
        case .resumed(let expert, let kept): return resumed(expert, kept, at: now)
        case .chunk(let expert, let index, let digest): return received(expert, index, digest, at: now)
        case .reconnected: return askAgain(at: now)
        case .tick:
            let claims = fetches.filter(\.value.isOthers).keys.sorted().map(Action.claim)
            guard !asked.isEmpty, lastAnswer.duration(to: now) >= patience else { return claims }
            patience = min(patience * 2, Self.patience.upperBound)
            lastAnswer = now
            return claims + [.reconnect]
        }
    }

    private mutating func claimed(_ expert: ExpertID, _ claim: ExpertClaim, at now: ContinuousClock.Instant) -> [Action]
    {
        guard fetches[expert] != nil else { return [] }
        asked = asked.filter { $0.key.expert != expert }
        switch claim {
        case .mine:
            fetches[expert] = Fetch()
            if asked.isEmpty { lastAnswer = now }
            asked[.manifest(expert)] = now
            return [.ask(.manifest(expert))]
        case .others: fetches[expert] = Fetch(isOthers: true)
        case .here: fetches[expert] = nil
        }
        return askMore(at: now)
    }

    private mutating func resumed(_ expert: ExpertID, _ kept: Set<Int>, at now: ContinuousClock.Instant) -> [Action] {
        guard let fetch = fetches[expert], !fetch.digests.isEmpty, fetch.missing == 0 else { return [] }
        let missing = (0..<chunkCount).reversed().filter { !kept.contains($0) }
        fetches[expert]?.unasked = missing
        fetches[expert]?.missing = missing.count
        return (missing.isEmpty ? finish(expert) : []) + askMore(at: now)
    }

    private mutating func received(
        _ expert: ExpertID, _ index: Int, _ digest: ChunkDigest, at now: ContinuousClock.Instant
    ) -> [Action] {
        guard let time = answered(.chunk(expert, index), at: now), var fetch = fetches[expert] else {
            return [.drop(.unknownSequence)]
        }
        guard fetch.digests[index] == digest else {
            mismatches += 1
            if mismatches > Self.mostMismatches { return [.drop(.wrongDigest), .fail(expert)] }
            fetches[expert]?.unasked.append(index)
            return [.drop(.wrongDigest)] + askMore(at: now)
        }
        window.answered(after: time)
        fetch.missing -= 1
        fetches[expert] = fetch
        return [.keep(expert, index)] + (fetch.missing == 0 ? finish(expert) : []) + askMore(at: now)
    }

    private mutating func finish(_ expert: ExpertID) -> [Action] {
        fetches[expert] = nil
        return [.finish(expert)]
    }

    /// How long the answer took; nil when nothing of the kind was asked.
    private mutating func answered(_ question: WeightsMessage, at now: ContinuousClock.Instant) -> Duration? {
        guard let time = asked.removeValue(forKey: question) else { return nil }
        patience = Self.patience.lowerBound
        lastAnswer = now
        return time.duration(to: now)
    }

    private mutating func askMore(at now: ContinuousClock.Instant) -> [Action] {
        var claims: [Action] = []
        while fetches.count < Self.width, let expert = absent.popLast() {
            fetches[expert] = Fetch()
            claims.append(.claim(expert))
        }
        var questions: [WeightsMessage] = []
        let chunks = asked.keys.count { if case .chunk = $0 { true } else { false } }
        for expert in fetches.keys.sorted() {
            while chunks + questions.count < window.size, let index = fetches[expert]?.unasked.popLast() {
                questions.append(.chunk(expert, index))
            }
        }
        if asked.isEmpty { lastAnswer = now }
        for question in questions { asked[question] = now }
        return claims + questions.map(Action.ask)
    }

    /// The sooner it was asked, the sooner it is asked again.
    private mutating func askAgain(at now: ContinuousClock.Instant) -> [Action] {
        let questions = asked.keys.sorted()
        for question in questions { asked[question] = now }
        window = ChunkWindow()
        lastAnswer = now
        return questions.map(Action.ask)
    }
}

extension WeightsMessage: Comparable {
    /// By expert, the manifest before the chunks.
    package static func < (left: WeightsMessage, right: WeightsMessage) -> Bool {
        func key(_ message: WeightsMessage) -> (Int, Int, Int) {
            switch message {
            case .manifest(let expert): (expert.layer, expert.expert, -1)
            case .chunk(let expert, let index): (expert.layer, expert.expert, index)
            }
        }
        return key(left) < key(right)
    }
}
