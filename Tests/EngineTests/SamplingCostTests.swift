import Engine
import Foundation
import TestSupport
import Testing
import Transformer

/// What drawing one token from gpt-oss's vocabulary costs. Timings are printed, not judged: other work on the machine
/// decides them. `SHOAL_MEASURE=1 swift test -c release --filter SamplingCostTests`
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["SHOAL_MEASURE"] != nil))
struct SamplingCostTests {
    private static let vocabulary = 201_088

    private func measure(_ name: String, _ logits: [Float], _ body: (UnsafeMutableBufferPointer<Float>, Int) -> Void) {
        var times: [Duration] = []
        let row = UnsafeMutableBufferPointer<Float>.allocate(capacity: logits.count)
        defer { row.deallocate() }
        for position in 0..<101 {
            _ = row.initialize(from: logits)
            let begin = ContinuousClock.now
            body(row, position)
            times.append(begin.duration(to: .now))
        }
        times.sort()
        let padded = name.padding(toLength: 44, withPad: " ", startingAt: 0)
        print("\(padded) median \(Int(times[50] / .microseconds(1))) µs, p90 \(Int(times[90] / .microseconds(1))) µs")
    }

    @Test("one row of 201,088 logits")
    func oneRow() throws {
        var generator = SeededGenerator(seed: 1)
        let kernels = try selectedKernels()
        let peaked = randomLogits(Self.vocabulary, deviation: 3, &generator)
        let rows = [
            ("peaked", peaked), ("flat", randomLogits(Self.vocabulary, deviation: 0.01, &generator)),
            ("equal", [Float](repeating: 1, count: Self.vocabulary)),
        ]
        measure("one pass over the memory", peaked) { row, position in
            var bits: UInt32 = 0
            for logit in row { bits ^= logit.bitPattern }
            #expect(bits != UInt32(position))
        }
        func sample(_ name: String, _ logits: [Float], top: Int? = nil, _ change: (inout SamplingParameters) -> Void) {
            var parameters = SamplingParameters(seed: 1)
            change(&parameters)
            var request = sampling(parameters, prompt: (0..<500).map { $0 * 300 })
            request.topLogprobs = top
            let sampler = TokenSampler(request, generated: (0..<500).map { $0 * 301 })
            measure(name, logits) { row, position in
                #expect(sampler.sample(row, position: position, kernels: kernels) != nil)
            }
        }
        for (name, logits) in rows {
            sample("\(name): greedy", logits) { $0.temperature = 0 }
            sample("\(name): temperature 1", logits) { _ in }
            sample("\(name): temperature 0.7", logits) { $0.temperature = 0.7 }
            sample("\(name): top_p 0.9", logits) { $0.topP = 0.9 }
            sample("\(name): temperature 0.7, top_p 0.9", logits) { ($0.temperature, $0.topP) = (0.7, 0.9) }
            sample("\(name): top_k 40", logits) { $0.topK = 40 }
            sample("\(name): top_k 40, top_p 0.9", logits) { ($0.topK, $0.topP) = (40, 0.9) }
            sample("\(name): min_p 0.05", logits) { $0.minP = 0.05 }
            sample("\(name): penalties on 1000 tokens", logits) {
                ($0.repetitionPenalty, $0.frequencyPenalty, $0.presencePenalty) = (1.1, 0.5, 0.5)
            }
            for top in [5, 20] { sample("\(name): top_logprobs \(top)", logits, top: top) { _ in } }
        }
    }
}
