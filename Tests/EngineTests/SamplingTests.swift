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
        var vocabulary = 8
        var deviation = 1.0
        var parameters = SamplingParameters()
        var prompt: [Int32] = []
        var generated: [Int32] = []
        var description: String {
            "\(vocabulary) logits ±\(deviation), \(prompt.count + generated.count) tokens, \(parameters)"
        }

        init(
            _ vocabulary: Int, _ deviation: Double, prompt: [Int32] = [], generated: [Int32] = [],
            _ change: (inout SamplingParameters) -> Void = { _ in }
        ) {
            self.vocabulary = vocabulary
            self.deviation = deviation
            self.prompt = prompt
            self.generated = generated
            change(&parameters)
        }

        func probabilities(_ logits: [Float]) -> [Double] {
            PlainSampling(parameters: parameters, prompt: prompt, generated: generated).probabilities(logits)
        }

        func counts(_ logits: [Float], draws: Int) throws -> [Int] {
            var counts = [Int](repeating: 0, count: logits.count)
            for seed in 0..<draws {
                var request = sampling(parameters, prompt: prompt)
                request.sampling.seed = UInt64(seed) << 20
                let token = try TokenSampler(request, generated: generated).draw(logits, position: 5)
                counts[Int(try #require(token).id)] += 1
            }
            return counts
        }
    }

    private static let cases: [Case] = [
        Case(8, 1),
        Case(8, 1) { $0.temperature = 0.5 },
        Case(8, 1) { $0.temperature = 2 },
        Case(8, 1) { $0.topP = 0.7 },
        Case(8, 1) { $0.topK = 3 },
        Case(8, 1) { $0.minP = 0.2 },
        Case(8, 1, prompt: [0, 1], generated: [2, 2, 3]) { $0.repetitionPenalty = 1.8 },
        Case(8, 1, prompt: [0, 1], generated: [2, 2, 3]) { $0.repetitionPenalty = 0.5 },
        Case(8, 1, prompt: [0, 1], generated: [2, 2, 3]) { $0.frequencyPenalty = 0.7 },
        Case(8, 1, prompt: [0, 1], generated: [2, 2, 3]) { $0.presencePenalty = -1.5 },
        Case(8, 1) { $0.logitBias = [0: 2, 5: -1.5, 7: -100] },
        Case(8, 1, prompt: [0, 1], generated: [2, 2, 3]) {
            ($0.repetitionPenalty, $0.frequencyPenalty, $0.presencePenalty) = (1.3, -0.3, 0.4)
            ($0.logitBias, $0.temperature, $0.topK) = ([2: 3, 0: -3], 0.8, 6)
        },
        Case(1300, 3),
        Case(1300, 3) { ($0.temperature, $0.topP) = (0.7, 0.9) },
        Case(1300, 2) { ($0.temperature, $0.topP) = (1.3, 0.5) },
        Case(1300, 0) { $0.topP = 0.5 },
        Case(1300, 1) { $0.topP = 0.999_999_94 },
        Case(1300, 1) { ($0.topK, $0.topP, $0.minP) = (100, 0.8, 0.1) },
    ]

    @Test("tokens are drawn as often as the parameters say, and none that they exclude", arguments: cases)
    private func distribution(test: Case) throws {
        var generator = SeededGenerator(seed: 4)
        let logits = randomLogits(test.vocabulary, deviation: test.deviation, &generator)
        let counts = try test.counts(logits, draws: 30_000)
        let expected = test.probabilities(logits)
        let isWithin = zip(counts, expected).allSatisfy { $0 == 0 || $1 > 0 }
        #expect(isWithin)
        #expect(PlainSampling.deviation(counts, expected) < 4)
        // The same counts refute another temperature, so the threshold is not idle.
        guard test.deviation > 0 else { return }
        var other = test
        other.parameters.temperature *= 1.3
        #expect(PlainSampling.deviation(counts, other.probabilities(logits)) > 8)
    }

    @Test("temperature 0, top_p 0, top_k 1 and temperatures near 0 take the most likely token, of equals the lowest id")
    func greedy() throws {
        let logits: [Float] = [1, 7, -3, 7, 2]
        for change: (inout SamplingParameters) -> Void in [
            { $0.temperature = 0 }, { ($0.temperature, $0.topP) = (0, 0.5) }, { $0.topP = 0 }, { $0.topP = 1e-30 },
            { $0.topK = 1 }, { ($0.topK, $0.topP) = (3, 1e-9) },
        ] {
            let test = Case(5, 1, change)
            #expect(try test.counts(logits, draws: 100) == [0, 100, 0, 0, 0])
        }
        for temperature in [Float.leastNonzeroMagnitude, 1e-30, 0.01] {
            let counts = try Case(5, 1) { $0.temperature = temperature }.counts(logits, draws: 100)
            #expect(counts[1] > 20 && counts[3] > 20 && counts[1] + counts[3] == 100)
        }
    }

    @Test("the hottest temperature draws uniformly")
    func hot() throws {
        let counts = try Case(5, 1) { $0.temperature = .greatestFiniteMagnitude }
            .counts([1, 70, -3, 7, 2], draws: 10_000)
        #expect(PlainSampling.deviation(counts, [Double](repeating: 0.2, count: 5)) < 4)
    }

    @Test("a draw depends on seed and position alone, and on both")
    func seeds() throws {
        let logits = [Float](repeating: 0, count: 4000)
        func draw(_ seed: UInt64, _ position: Int) throws -> Int32? {
            try TokenSampler(sampling(.init(seed: seed))).draw(logits, position: position)?.id
        }
        for position in 0..<50 { #expect(try draw(3, position) == draw(3, position)) }
        #expect(Set(try (0..<50).map { try draw(3, $0) }).count > 45)
        #expect(Set(try (0..<50).map { try draw(UInt64($0) << 32, 3) }).count > 45)
        #expect(TokenSampler(sampling(.init())).seed != TokenSampler(sampling(.init())).seed)
    }
}
