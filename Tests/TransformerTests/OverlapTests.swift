import Checkpoints
import Foundation
import TestSupport
import Testing
import Transformer

/// Two micro-batches through the layers, with experts that answer after a while.
@Suite(.serialized) struct OverlapTests {
    /// Experts that could be anywhere: what comes back is written when a batch is finished, `delay` after its start.
    private final class RemoteExperts: ExpertExecutor {
        struct Unavailable: Error {}
        enum Event: Equatable { case start(layer: Int, rows: Int), finish(layer: Int) }

        var remotePlacement: UInt64? = 1
        var delay = Duration.zero
        /// Starts and finishes until one fails.
        var callsUntilFailure = Int.max
        private(set) var events: [Event] = []
        private var underWay: [(batch: ExpertBatch, due: ContinuousClock.Instant)] = []
        private let experts: LocalExperts

        init(_ experts: LocalExperts) { self.experts = experts }

        func beginStep() {
            underWay = []
            events = []
        }

        func start(_ batch: ExpertBatch) throws {
            try count()
            events.append(.start(layer: batch.layer, rows: batch.rowCount))
            underWay.append((batch, .now + delay))
        }

        func finish() throws {
            try count()
            let (batch, due) = underWay.removeFirst()
            events.append(.finish(layer: batch.layer))
            try experts.start(batch)
            Thread.sleep(forTimeInterval: max(0, ContinuousClock.now.duration(to: due) / .seconds(1)))
        }

        private func count() throws {
            if callsUntilFailure == 0 { throw Unavailable() }
            callsUntilFailure -= 1
        }
    }

    private func tokens(_ count: Int, _ reference: Reference) -> [Int32] {
        var generator = SeededGenerator(seed: 6)
        return reference.randomTokens(count, using: &generator)
    }

    private func model() throws -> (Transformer, RemoteExperts, Reference) {
        let reference = try #require(Reference.all.first)
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .int8, threads: 1)
        return (model, RemoteExperts(model.makeLocalExperts()), reference)
    }

    @Test("while one batch is at the experts the other attends, and none waits for more than its own")
    func order() throws {
        let (model, experts, reference) = try model()
        model.firstMicroBatch = { _ in 3 }
        let segment = try model.makeCache().segment(tokens(8, reference), logits: .all)
        try model.forward([segment], experts: experts) { _ in }
        let last = reference.config.layerCount - 1
        let expected: [RemoteExperts.Event] =
            [.start(layer: 0, rows: 3), .start(layer: 0, rows: 5)]
            + (0..<last).flatMap { layer -> [RemoteExperts.Event] in
                [
                    .finish(layer: layer), .start(layer: layer + 1, rows: 3), .finish(layer: layer),
                    .start(layer: layer + 1, rows: 5),
                ]
            } + [.finish(layer: last), .finish(layer: last)]
        #expect(experts.events == expected)
    }

    @Test("the delays of two micro-batches are one delay")
    func delay() throws {
        let (model, experts, reference) = try model()
        experts.delay = .milliseconds(20)
        model.firstMicroBatch = { ($0 + 1) / 2 }
        let segment = try model.makeCache().segment(tokens(8, reference), logits: .all)
        let begin = ContinuousClock.now
        try model.forward([segment], experts: experts) { _ in }
        let delays = begin.duration(to: .now) / experts.delay / Double(reference.config.layerCount)
        #expect(delays >= 1 && delays < 1.6, "two if they followed one another")
    }

    @Test("steps are split where experts are elsewhere and that is faster; never otherwise")
    func choice() throws {
        let (model, experts, reference) = try model()
        let cache = try model.makeCache()
        func batches(in steps: Int) throws -> Set<Int> {
            var counts: Set<Int> = []
            for _ in 0..<steps {
                let segment = cache.segment(tokens(2, reference), logits: .all)
                try model.forward([segment], experts: experts) { _ in }
                counts.insert(experts.events.count / 2 / reference.config.layerCount)
            }
            return counts
        }
        #expect(try batches(in: 6) == [1, 2], "both are tried")
        experts.remotePlacement = nil
        #expect(try batches(in: 6) == [1])
        experts.remotePlacement = 2
        let recorder = Recorder()
        model.observer = recorder
        #expect(try batches(in: 6) == [1], "an observer sees whole batches")
        model.firstMicroBatch = { _ in 1 }
        #expect(try batches(in: 1) == [1])
    }

    @Test("after a failure anywhere in a step of two micro-batches it can be repeated")
    func failure() throws {
        let (model, experts, reference) = try model()
        let tokens = tokens(20, reference)
        let whole = try model.run(tokens)
        model.firstMicroBatch = { ($0 + 1) / 2 }
        let segment = try model.makeCache().segment(tokens, logits: .all)
        for calls in 0..<4 * reference.config.layerCount {
            experts.callsUntilFailure = calls
            #expect(throws: RemoteExperts.Unavailable.self) {
                try model.forward([segment], experts: experts) { _ in }
            }
        }
        experts.callsUntilFailure = .max
        let after = try model.forward([segment], experts: experts) {
            Array($0)
        }
        #expect(after.map(\.bitPattern) == whole.map(\.bitPattern))
    }
}
