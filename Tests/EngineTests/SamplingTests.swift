import Engine
import Foundation
import TestSupport
import Testing

/// Draws, against plain arithmetic in Double.
@Suite struct SamplingTests {
    @Test("Philox4x32-10 gives the words of its authors' test vectors")
    func philox() {
        #expect(
            Philox.block(counter: SIMD4(), key: SIMD2()) == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        #expect(
            Philox.block(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max))
                == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        #expect(
            Philox.block(
                counter: SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: SIMD2(0xa409_3822, 0x299f_31d0)
            )
                == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    private struct Case: CustomStringConvertible, Sendable {
        var vocabulary: Int
        var deviation: Double
        var temperature: Float
        var topP: Float
        var description: String { "\(vocabulary) logits ±\(deviation), temperature \(temperature), top_p \(topP)" }
    }

    private static let cases: [Case] = [
        Case(vocabulary: 8, deviation: 1, temperature: 1, topP: 1),
        Case(vocabulary: 8, deviation: 1, temperature: 0.5, topP: 1),
        Case(vocabulary: 8, deviation: 1, temperature: 2, topP: 1),
        Case(vocabulary: 8, deviation: 1, temperature: 1, topP: 0.7),
        Case(vocabulary: 1300, deviation: 3, temperature: 1, topP: 1),
        Case(vocabulary: 1300, deviation: 3, temperature: 0.7, topP: 0.9),
        Case(vocabulary: 1300, deviation: 2, temperature: 1.3, topP: 0.5),
        Case(vocabulary: 1300, deviation: 0, temperature: 1, topP: 0.5),
        Case(vocabulary: 1300, deviation: 1, temperature: 1, topP: 0.999_999_94),
    ]

    /// Probabilities after temperature and top-p.
    private static func probabilities(_ logits: [Float], _ test: Case) -> [Double] {
        let largest = Double(logits.max() ?? 0)
        var weights = logits.map { exp((Double($0) - largest) / Double(test.temperature)) }
        var missing = Double(test.topP) * weights.reduce(0, +)
        for id in logits.indices.sorted(by: { (-logits[$0], $0) < (-logits[$1], $1) }) {
            if missing <= 1e-9 { weights[id] = 0 }
            missing -= weights[id]
        }
        let sum = weights.reduce(0, +)
        return weights.map { $0 / sum }
    }

    /// Pearson's statistic, tokens expected less than 25 times pooled, in standard deviations from its mean.
    private static func deviation(_ counts: [Int], _ probabilities: [Double]) -> Double {
        let draws = Double(counts.reduce(0, +))
        var statistic = 0.0
        var cells = 0.0
        var pooled = (count: 0.0, expected: 0.0)
        func add(_ count: Double, _ expected: Double) {
            statistic += (count - expected) * (count - expected) / expected
            cells += 1
        }
        for (count, probability) in zip(counts, probabilities) {
            let expected = probability * draws
            if expected >= 25 {
                add(Double(count), expected)
            } else {
                pooled.count += Double(count)
                pooled.expected += expected
            }
        }
        if pooled.expected > 1 { add(pooled.count, pooled.expected) }
        return (statistic - (cells - 1)) / max(2 * (cells - 1), 1).squareRoot()
    }

    @Test("tokens are drawn as often as temperature and top_p say, and none outside the nucleus", arguments: cases)
    private func distribution(test: Case) throws {
        var generator = SeededGenerator(seed: 4)
        let logits = randomLogits(test.vocabulary, deviation: test.deviation, &generator)
        let parameters = SamplingParameters(temperature: test.temperature, topP: test.topP)
        var counts = [Int](repeating: 0, count: logits.count)
        try withRow(logits) { row in
            let row = try #require(row)
            for position in 0..<30_000 { counts[Int(row.sample(parameters, seed: 77, position: position))] += 1 }
        }
        let expected = Self.probabilities(logits, test)
        let isWithin = zip(counts, expected).allSatisfy { $0 == 0 || $1 > 0 }
        #expect(isWithin)
        #expect(Self.deviation(counts, expected) < 4)
        // The same counts refute another temperature, so the threshold is not idle.
        guard test.deviation > 0 && test.topP == 1 else { return }
        var other = test
        other.temperature *= 1.3
        #expect(Self.deviation(counts, Self.probabilities(logits, other)) > 8)
    }

    @Test(
        "the nucleus is the shortest prefix of the sorted tokens", arguments: [Float(1e-30), 0.1, 0.3, 0.5, 0.8, 0.95])
    func nucleus(topP: Float) throws {
        var generator = SeededGenerator(seed: 5)
        for deviation in [0, 0.01, 1, 4] {
            let logits = randomLogits(700, deviation: deviation, &generator).map { ($0 * 16).rounded() / 16 }
            let test = Case(vocabulary: 700, deviation: deviation, temperature: 1, topP: topP)
            let expected = Self.probabilities(logits, test)
            let drawn = try withRow(logits) { row in
                let row = try #require(row)
                return Set(
                    (0..<4_000).map { row.sample(SamplingParameters(topP: topP), seed: 1, position: $0) })
            }
            let missing = expected.indices.filter { expected[$0] > 5e-3 && !drawn.contains(Int32($0)) }
            let excess = drawn.filter { expected[Int($0)] == 0 }
            #expect(missing.isEmpty && excess.isEmpty)
        }
    }

    @Test("temperature 0, top_p 0 and temperatures near 0 take the most likely token, of equals the lowest id")
    func greedy() throws {
        try withRow([1, 7, -3, 7, 2]) { row in
            let row = try #require(row)
            for parameters in [
                SamplingParameters(temperature: 0), SamplingParameters(temperature: 0, topP: 0.5),
                SamplingParameters(topP: 0), SamplingParameters(topP: 1e-30),
            ] { #expect((0..<100).allSatisfy { row.sample(parameters, seed: 1, position: $0) == 1 }) }
            for temperature in [Float.leastNonzeroMagnitude, 1e-30, 0.01] {
                let drawn = Set(
                    (0..<100).map { row.sample(.init(temperature: temperature), seed: 1, position: $0) })
                #expect(drawn == [1, 3])
            }
        }
    }

    @Test("the hottest temperature draws uniformly")
    func hot() throws {
        var counts = [Int](repeating: 0, count: 5)
        try withRow([1, 70, -3, 7, 2]) { row in
            let row = try #require(row)
            for position in 0..<10_000 {
                let hottest = SamplingParameters(temperature: .greatestFiniteMagnitude)
                counts[Int(row.sample(hottest, seed: 1, position: position))] += 1
            }
        }
        #expect(Self.deviation(counts, [Double](repeating: 0.2, count: 5)) < 4)
    }

    @Test("a draw depends on seed and position alone, and on both")
    func seeds() throws {
        try withRow([Float](repeating: 0, count: 4000)) { row in
            let row = try #require(row)
            func draw(_ seed: UInt64, _ position: Int) -> Int32 { row.sample(.init(), seed: seed, position: position) }
            #expect((0..<50).allSatisfy { draw(3, $0) == draw(3, $0) })
            #expect(Set((0..<50).map { draw(3, $0) }).count > 45)
            #expect(Set((0..<50).map { draw(UInt64($0) << 32, 3) }).count > 45)
        }
    }
}
