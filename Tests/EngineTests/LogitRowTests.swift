import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// Log-probabilities and the most likely tokens, against plain arithmetic in Double.
@Suite struct LogitRowTests {
    @Test("log-probabilities are those of a softmax", arguments: [1, 2, 511, 512, 513, 5000])
    func logprobs(count: Int) throws {
        var generator = SeededGenerator(seed: UInt64(count))
        let logits = randomLogits(count, deviation: 5, &generator)
        let largest = Double(logits.max() ?? 0)
        let normalizer = largest + log(logits.reduce(0) { $0 + exp(Double($1) - largest) })
        try withRow(logits) { row in
            let row = try #require(row)
            for id in logits.indices.shuffled(using: &generator).prefix(50) {
                #expect(abs(Double(row.logprob(of: Int32(id))) - (Double(logits[id]) - normalizer)) < 1e-5)
            }
        }
    }

    @Test("the most likely tokens descend, ties by ascending id", arguments: [0, 1, 3, 20, 3000, 5000])
    func top(count: Int) throws {
        var generator = SeededGenerator(seed: 9)
        // Whole numbers, so that ties abound.
        let logits = randomLogits(3000, deviation: 3, &generator).map { $0.rounded() }
        let expected = logits.indices.sorted { (-logits[$0], $0) < (-logits[$1], $1) }.prefix(count)
        try withRow(logits) { row in
            let row = try #require(row)
            let top = row.top(count)
            #expect(top.map { Int($0.id) } == Array(expected))
            #expect(top.allSatisfy { $0.logprob == row.logprob(of: $0.id) })
            for (index, id) in expected.enumerated() { #expect(row.rank(of: Int32(id)) == index + 1) }
            #expect(Int(row.mostLikely) == logits.indices.sorted { (-logits[$0], $0) < (-logits[$1], $1) }[0])
        }
    }

    @Test("what is not finite is refused, wherever it stands", arguments: [Float.nan, .infinity, -.nan])
    func notFinite(value: Float) throws {
        for position in [0, 1, 511, 512, 999] {
            var logits = [Float](repeating: 1, count: 1000)
            logits[position] = value
            #expect(try withRow(logits) { $0 == nil })
        }
        #expect(try withRow([]) { $0 == nil })
        #expect(try withRow([Float](repeating: -.infinity, count: 1000)) { $0 == nil })
    }

    @Test("a token that the model rules out has log-probability minus infinity, a whole block of them too")
    func ruledOut() throws {
        try withRow([Float](repeating: -.infinity, count: 600) + [1, 1]) { row in
            let row = try #require(row)
            #expect(row.logprob(of: 3) == -.infinity && row.mostLikely == 600)
            #expect(abs(row.logprob(of: 601) + Float(log(2.0))) < 1e-6)
        }
        try withRow([0, -.infinity, 0]) { row in
            let row = try #require(row)
            #expect(row.logprob(of: 1) == -.infinity)
            #expect(abs(row.logprob(of: 0) + Float(log(2.0))) < 1e-6)
        }
    }
}
