import Engine
import Foundation
import TestSupport
import Testing

/// Penalties, bias and bans on single tokens, and what is reported beside them.
@Suite struct TokenSamplerTests {
    private func greedy(_ change: (inout SamplingParameters) -> Void) -> SamplingParameters {
        var parameters = SamplingParameters(temperature: 0)
        change(&parameters)
        return parameters
    }

    @Test("a bias moves its token, and only it")
    func bias() throws {
        let logits: [Float] = [1, 5, 3]
        #expect(try TokenSampler(sampling(greedy { $0.logitBias = [2: 2.5] })).draw(logits)?.id == 2)
        #expect(try TokenSampler(sampling(greedy { $0.logitBias = [1: -100] })).draw(logits)?.id == 2)
        #expect(try TokenSampler(sampling(greedy { $0.logitBias = [2: 1.5] })).draw(logits)?.id == 1)
    }

    @Test("the repetition penalty counts prompt and answer, the others the answer alone")
    func penalties() throws {
        func draw(_ logits: [Float], generated: [Int32] = [], _ change: (inout SamplingParameters) -> Void) throws
            -> Int32?
        {
            try TokenSampler(sampling(greedy(change), prompt: [0]), generated: generated).draw(logits)?.id
        }
        #expect(try draw([4, 3, 1]) { $0.repetitionPenalty = 2 } == 1)
        #expect(try draw([4, 3, 1], generated: [1]) { $0.repetitionPenalty = 3.5 } == 0, "4 / 3.5 and 3 / 3.5")
        #expect(try draw([-1, -1.5, -9]) { $0.repetitionPenalty = 2 } == 1, "negative logits are multiplied")
        #expect(try draw([4, 3.9, 1]) { $0.frequencyPenalty = 2 } == 0, "the prompt does not count")
        #expect(try draw([4, 3.9, 1]) { $0.presencePenalty = 2 } == 0, "the prompt does not count")
        #expect(try draw([4, 3.5, 1], generated: [0]) { $0.frequencyPenalty = 0.4 } == 0)
        #expect(try draw([4, 3.5, 1], generated: [0, 0]) { $0.frequencyPenalty = 0.4 } == 1)
        #expect(try draw([4, 3.5, 1], generated: [0, 0, 0]) { $0.presencePenalty = 0.4 } == 0)
        #expect(try draw([4, 3.5, 1], generated: [0]) { $0.presencePenalty = 0.6 } == 1)
    }

    @Test("bias comes before the repetition penalty, and that before the others")
    func order() throws {
        var parameters = greedy { $0.logitBias = [0: 4] }
        parameters.repetitionPenalty = 2
        parameters.presencePenalty = 1
        // (2 + 4) / 2 - 1 = 2, where any other order gives 1, 1.5, 2.5, 5 or 6 - 1.
        for (rival, winner): (Float, Int32) in [(1.99, 0), (2.01, 1)] {
            #expect(try TokenSampler(sampling(parameters, prompt: [0]), generated: [0]).draw([2, rival])?.id == winner)
        }
    }

    @Test("penalties beyond all numbers leave a token to be drawn")
    func overflow() throws {
        for (penalty, winner): (Float, Int32) in [(.leastNonzeroMagnitude, 0), (.greatestFiniteMagnitude, 2)] {
            for temperature: Float in [0, 1, 1e-30] {
                var parameters = SamplingParameters(temperature: temperature, seed: 1)
                parameters.repetitionPenalty = penalty
                let sampler = TokenSampler(sampling(parameters, prompt: [0, 1]))
                #expect(try sampler.draw([3e38, -3e38, 2e5])?.id == winner)
            }
        }
    }

    @Test("before min_tokens no stop token is drawn, greedy or not", arguments: [Float(0), 1, 1e30])
    func minTokens(temperature: Float) throws {
        var request = sampling(SamplingParameters(temperature: temperature, seed: 1))
        request.stopTokens = [1, 2, 99]
        request.minTokens = 2
        request.sampling.logitBias = [1: 100]
        for change: (inout SamplingParameters) -> Void in [{ _ in }, { $0.topP = 0.99 }, { $0.topK = 4 }] {
            change(&request.sampling)
            var sampler = TokenSampler(request)
            for generated in 0..<4 {
                let drawn = Set(
                    try (0..<200).map { try #require(try sampler.draw([0, 90, 90, -90], position: $0)).id })
                if generated < 2 {
                    #expect(drawn.isSubset(of: [0, 3]))
                } else if temperature < 1e30 {
                    #expect(drawn == [1])
                } else {
                    #expect(drawn.count == 4)
                }
                sampler.accept(0)
            }
        }
    }

    @Test("where every token is a stop token none is banned")
    func allBanned() throws {
        for vocabulary in [1, 2, 600] {
            var request = sampling(SamplingParameters(temperature: 0))
            request.stopTokens = Set(0..<Int32(vocabulary))
            request.minTokens = 1
            var logits = [Float](repeating: 0, count: vocabulary)
            logits[vocabulary - 1] = 1
            #expect(try TokenSampler(request).draw(logits)?.id == Int32(vocabulary - 1))
            request.stopTokens.remove(0)
            #expect(try TokenSampler(request).draw(logits)?.id == 0)
        }
    }

    @Test("reported log-probabilities are the model's own", arguments: [Float(0), 0.3, 1])
    func logprobs(temperature: Float) throws {
        var generator = SeededGenerator(seed: 6)
        let logits = randomLogits(700, deviation: 2, &generator)
        var request = sampling(SamplingParameters(temperature: temperature, seed: 1), prompt: [1, 2])
        request.sampling.logitBias = [3: 50]
        request.sampling.repetitionPenalty = 1.5
        request.sampling.topP = 0.99
        request.stopTokens = [Int32(logits.indices.max { logits[$0] < logits[$1] } ?? 0)]
        request.minTokens = 1
        request.topLogprobs = 5
        let token = try #require(try TokenSampler(request).draw(logits))
        #expect(token.id == 3)
        #expect(try token == withRow(logits) { $0?.scored(3, top: 5) })
        request.topLogprobs = nil
        #expect(try TokenSampler(request).draw(logits) == ScoredToken(id: 3))
    }

    @Test("what is not finite is refused, whatever is asked for", arguments: [Float.nan, .infinity])
    func notFinite(value: Float) throws {
        for position in [0, 5, 999] {
            var logits = [Float](repeating: 1, count: 1000)
            logits[position] = value
            for change: (inout SamplingParameters) -> Void in [
                { _ in }, { $0.temperature = 0 }, { $0.topK = 5 }, { $0.logitBias = [5: -100] },
                { $0.repetitionPenalty = 1.5 },
            ] {
                var request = sampling(SamplingParameters(seed: 1), prompt: [5])
                change(&request.sampling)
                request.stopTokens = [5]
                request.minTokens = 1
                for top in [nil, 0] {
                    request.topLogprobs = top
                    #expect(try TokenSampler(request).draw(logits) == nil)
                }
            }
        }
    }

    @Test("a sampler made from the tokens so far draws what the one that saw them come draws")
    func rebuilt() throws {
        var generator = SeededGenerator(seed: 2)
        var request = sampling(SamplingParameters(seed: 9), prompt: [1, 2, 3])
        (request.sampling.frequencyPenalty, request.sampling.repetitionPenalty) = (0.5, 1.2)
        (request.stopTokens, request.minTokens) = ([0, 1], 10)
        var sampler = TokenSampler(request)
        var generated: [Int32] = []
        for position in 3..<30 {
            let logits = randomLogits(50, deviation: 1, &generator)
            let token = try #require(try sampler.draw(logits, position: position))
            #expect(try TokenSampler(request, generated: generated).draw(logits, position: position) == token)
            sampler.accept(token.id)
            generated.append(token.id)
        }
    }
}
