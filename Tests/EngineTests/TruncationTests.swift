import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// Which tokens top-k, top-p and min-p keep, against sorting everything in Double.
@Suite struct TruncationTests {
    private func kept(_ logits: [Float], _ parameters: SamplingParameters) throws -> [Int32]? {
        try withRow(logits) { row in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { memory in
                row.map { row in
                    var weighted = WeightedRow(row, temperature: parameters.temperature, memory: memory)
                    weighted.truncate(parameters)
                    return weighted.kept
                }
            }
        }
    }

    private func expect(_ logits: [Float], _ parameters: SamplingParameters) throws {
        let probabilities = PlainSampling(parameters: parameters).probabilities(logits)
        let expected = probabilities.indices.filter { probabilities[$0] > 0 }.map { Int32($0) }
        let found = try kept(logits, parameters)
        let isEqual = found == expected
        #expect(isEqual, "\(found?.count ?? 0) tokens of \(expected.count); \(logits.count) logits, \(parameters)")
    }

    private static let vocabularies = [1, 2, 3, 511, 512, 513, 1024, 3000]
    private static let deviations = [0, 1e-4, 1, 4, 30]

    private static func parameters(_ change: (inout SamplingParameters) -> Void) -> SamplingParameters {
        var parameters = SamplingParameters()
        change(&parameters)
        return parameters
    }

    @Test("each alone, ties or none", arguments: vocabularies)
    func alone(vocabulary: Int) throws {
        var generator = SeededGenerator(seed: UInt64(vocabulary))
        for deviation in Self.deviations {
            let smooth = randomLogits(vocabulary, deviation: deviation, &generator)
            for logits in [smooth, smooth.map { ($0 * 4).rounded() / 4 }] {
                for topK in [1, 2, 40, 512, 5000] { try expect(logits, Self.parameters { $0.topK = topK }) }
                for topP: Float in [1e-9, 0.1, 0.5, 0.9, 0.99] {
                    try expect(logits, Self.parameters { $0.topP = topP })
                }
                for minP: Float in [1e-30, 0.01, 0.05, 0.5, 0.999, 1] {
                    try expect(logits, Self.parameters { $0.minP = minP })
                }
            }
        }
    }

    @Test("random combinations with temperature")
    func combinations() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<2_000 {
            let vocabulary = Self.vocabularies.randomElement(using: &generator) ?? 1
            let deviation = Self.deviations.randomElement(using: &generator) ?? 1
            let isRounded = Bool.random(using: &generator)
            let logits = randomLogits(vocabulary, deviation: deviation, &generator)
                .map { isRounded ? ($0 * 4).rounded() / 4 : $0 }
            try expect(
                logits,
                Self.parameters {
                    $0.temperature = [0.25, 1, 2, 1024].randomElement(using: &generator) ?? 1
                    $0.topK = [-1, 0, 5, 100, 700].randomElement(using: &generator) ?? 0
                    $0.topP = [1, .random(in: 0.01...1, using: &generator)].randomElement(using: &generator) ?? 1
                    $0.minP = [0, .random(in: 0...0.2, using: &generator)].randomElement(using: &generator) ?? 0
                })
        }
    }

    @Test("extreme temperatures and logits", arguments: [Float.leastNonzeroMagnitude, 1e-30, 1, 1e30, 1e38])
    func extremes(temperature: Float) throws {
        for logits: [Float] in [
            [1e38, -1e38, 0, 1e38, 5], [0, -0.0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude], [-1e38, -1e38],
            [1.5e38, -1.5e38, 1.4e38],
        ] {
            for change: (inout SamplingParameters) -> Void in [
                { $0.topK = 2 }, { $0.topP = 1e-9 }, { $0.topP = 0.9 }, { $0.minP = 0.05 }, { _ in },
            ] {
                var parameters = Self.parameters(change)
                parameters.temperature = temperature
                try expect(logits, parameters)
            }
        }
    }

    @Test("a vocabulary of gpt-oss's size")
    func large() throws {
        var generator = SeededGenerator(seed: 8)
        for deviation in Self.deviations {
            let logits = randomLogits(201_088, deviation: deviation, &generator)
            try expect(logits, Self.parameters { ($0.topK, $0.topP, $0.minP) = (1000, 0.9, 0.001) })
            try expect(logits, Self.parameters { $0.topP = 0.9 })
        }
    }
}
