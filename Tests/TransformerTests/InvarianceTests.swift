import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

/// The bytes of a row depend on nothing but the tokens before it.
@Suite struct InvarianceTests {
    private struct Case: CustomStringConvertible, Sendable {
        let reference: Reference
        let precision: Precision
        var kvFormat: KVFormat?
        var description: String { "\(reference) \(precision) \(kvFormat?.rawValue ?? "")" }
    }

    private static let cases = Reference.all.flatMap { reference in
        Precision.allCases.map { Case(reference: reference, precision: $0) }
            + [Case(reference: reference, precision: .int8, kvFormat: .int8)]
    }

    private static func tokens(_ count: Int, _ seed: UInt64, _ reference: Reference) -> [Int32] {
        var generator = SeededGenerator(seed: seed)
        return reference.randomTokens(count, using: &generator)
    }

    @Test("prefill in chunks of any size, and one token at a time", arguments: cases)
    private func chunks(test: Case) throws {
        let model = try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: 2)
        let experts = model.makeLocalExperts()
        let tokens = Self.tokens(150, 1, test.reference)
        let whole = try model.run(tokens, kvFormat: test.kvFormat)
        for size in [1, 2, 7, 16, 64, 149] {
            let cache = try model.makeCache(format: test.kvFormat)
            var chunked: [Float] = []
            for start in stride(from: 0, to: tokens.count, by: size) {
                let chunk = Array(tokens[start..<min(start + size, tokens.count)])
                chunked += try model.forward([cache.segment(chunk, logits: .all)], experts: experts) { Array($0) }
            }
            #expect(sameBytes(chunked, whole), "chunks of \(size)")
        }
    }

    @Test("one, two and three threads", arguments: cases)
    private func threads(test: Case) throws {
        let tokens = Self.tokens(70, 2, test.reference)
        let results = try [1, 2, 3].map { threads in
            try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: threads)
                .run(tokens, kvFormat: test.kvFormat)
        }
        #expect(results.dropFirst().allSatisfy { sameBytes($0, results[0]) })
    }

    @Test("any batch composition", arguments: cases)
    private func batches(test: Case) throws {
        let model = try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: 2)
        let experts = model.makeLocalExperts()
        let sequences = (0..<7).map { Self.tokens(20 + $0 * 9, UInt64(10 + $0), test.reference) }
        let alone = try sequences.map { try model.run($0, kvFormat: test.kvFormat) }
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<3 {
            let caches = try sequences.map { _ in try model.makeCache(format: test.kvFormat) }
            var together: [[Float]] = sequences.map { _ in [] }
            while let longest = zip(caches, sequences).map({ $1.count - $0.count }).max(), longest > 0 {
                let members = sequences.indices.filter { caches[$0].count < sequences[$0].count }
                    .filter { _ in Bool.random(using: &generator) }.shuffled(using: &generator)
                guard !members.isEmpty else { continue }
                let segments = members.map { index in
                    let held = caches[index].count
                    let size = Int.random(in: 1...min(13, sequences[index].count - held), using: &generator)
                    return caches[index].segment(Array(sequences[index][held..<held + size]), logits: .all)
                }
                try model.forward(segments, experts: experts) { logits in
                    var rows = Array(logits)[...]
                    for (index, segment) in zip(members, segments) {
                        let count = segment.tokens.count * test.reference.config.vocabularySize
                        together[index] += rows.prefix(count)
                        rows = rows.dropFirst(count)
                    }
                }
            }
            for (a, b) in zip(together, alone) { #expect(sameBytes(a, b)) }
        }
    }

    @Test("two micro-batches, cut anywhere: between sequences and within a chunk", arguments: cases)
    private func microBatches(test: Case) throws {
        let model = try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: 2)
        let experts = model.makeLocalExperts()
        let sequences = (0..<4).map { Self.tokens(140 + $0, UInt64(30 + $0), test.reference) }
        let alone = try sequences.map { try model.run($0) }
        var generator = SeededGenerator(seed: 7)
        model.firstMicroBatch = { Int.random(in: 1...$0, using: &generator) }
        let caches = try sequences.map { _ in try model.makeCache() }
        var together: [[Float]] = sequences.map { _ in [] }
        // Chunks at first, then tokens one at a time.
        for end in [60, 130] + Array(131...140) {
            let segments = zip(caches, sequences).map { cache, tokens in
                cache.segment(Array(tokens[cache.count..<min(end, tokens.count)]), logits: .all)
            }
            try model.forward(segments, experts: experts) { logits in
                let count = logits.count / segments.count
                for index in segments.indices { together[index] += logits[index * count..<(index + 1) * count] }
            }
        }
        for (a, b) in zip(together, alone) { #expect(sameBytes(a, Array(b.prefix(a.count)))) }
    }

    @Test("whichever logits are wanted of each segment, in one micro-batch or two", arguments: cases)
    private func wantedLogits(test: Case) throws {
        let model = try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: 2)
        let counting = Counting(model.makeLocalExperts())
        let sequences = (0..<4).map { Self.tokens(90, UInt64(50 + $0), test.reference) }
        let alone = try sequences.map { try model.run($0, kvFormat: test.kvFormat) }
        let vocabulary = test.reference.config.vocabularySize
        var generator = SeededGenerator(seed: 11)
        for isSplit in [false, true] {
            if isSplit { model.firstMicroBatch = { Int.random(in: 1...$0, using: &generator) } }
            let caches = try sequences.map { _ in try model.makeCache(format: test.kvFormat) }
            for start in stride(from: 0, to: 90, by: 15) {
                // At first nobody's logits are wanted.
                let wanted = sequences.map { _ in
                    start == 0 ? .none : [LogitsSelection.none, .last, .all].randomElement(using: &generator) ?? .none
                }
                let segments = zip(caches, zip(sequences, wanted)).map {
                    $0.segment(Array($1.0[start..<start + 15]), logits: $1.1)
                }
                var expected: [Float] = []
                for (logits, selection) in zip(alone, wanted) {
                    let first = [.none: 15, .last: 14, .all: 0][selection, default: 0]
                    expected += logits[(start + first) * vocabulary..<(start + 15) * vocabulary]
                }
                counting.rows.removeAll()
                #expect(try model.forward(segments, experts: counting) { sameBytes(Array($0), expected) })
                #expect(counting.rows[0] == 60)
                #expect(counting.rows[test.reference.config.layerCount - 1, default: 0] == expected.count / vocabulary)
            }
        }
    }

    /// Counts the rows that each layer's experts are given.
    private final class Counting: ExpertExecutor {
        let experts: LocalExperts
        var rows: [Int: Int] = [:]
        init(_ experts: LocalExperts) { self.experts = experts }
        func beginStep() {}
        func start(_ batch: ExpertBatch) throws {
            rows[batch.layer, default: 0] += batch.rowCount
            try experts.run(batch)
        }
        func finish() {}
    }

    private final class Failing: ExpertExecutor {
        struct Unavailable: Error {}
        let experts: LocalExperts
        var runsUntilFailure = Int.max
        init(_ experts: LocalExperts) { self.experts = experts }
        func beginStep() {}
        func start(_ batch: ExpertBatch) throws {
            if runsUntilFailure == 0 { throw Unavailable() }
            runsUntilFailure -= 1
            try experts.start(batch)
        }
        func finish() { experts.finish() }
    }

    @Test("a failing pass can be repeated, with other tokens too", arguments: cases)
    private func failure(test: Case) throws {
        let model = try Transformer(checkpoint: test.reference.checkpoint, precision: test.precision, threads: 1)
        let experts = Failing(model.makeLocalExperts())
        let tokens = Self.tokens(90, 4, test.reference)
        let whole = try model.run(tokens, kvFormat: test.kvFormat)
        let cache = try model.makeCache(format: test.kvFormat)
        let first = try model.forward([cache.segment(Array(tokens[..<60]), logits: .all)], experts: experts) {
            Array($0)
        }
        experts.runsUntilFailure = 1
        let failing = cache.segment(Self.tokens(40, 5, test.reference), logits: .all)
        #expect(throws: Failing.Unavailable.self) { try model.forward([failing], experts: experts) { _ in } }
        experts.runsUntilFailure = .max
        let repeated = Segment(
            pool: failing.pool, pages: failing.pages, position: 60, tokens: Array(tokens[60...]), logits: .all)
        let second = try model.forward([repeated], experts: experts) { Array($0) }
        #expect(sameBytes(first + second, whole))
    }
}

func sameBytes(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern }
}
