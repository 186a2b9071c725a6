import Engine
import TestSupport
import Testing

/// What is refused before it runs, and in which words.
@Suite(.timeLimit(.minutes(2))) struct ValidationTests {
    private static let cases: [(GenerationRequest, EngineError.Kind, String)] = [
        (GenerationRequest(prompt: []), .invalidRequest, "the prompt is empty"),
        (GenerationRequest(prompt: [1, 2, -3]), .invalidRequest, "token -3 at index 2"),
        (GenerationRequest(prompt: [1, .max]), .invalidRequest, "token 2147483647 at index 1"),
        (
            GenerationRequest(prompt: [Int32](repeating: 1, count: 100)), .promptTooLong,
            "has 100 tokens; with a context of 100 it may have 99"
        ),
        (GenerationRequest(prompt: [Int32](repeating: 1, count: 101), maxTokens: 0), .promptTooLong, "may have 100"),
        (GenerationRequest(prompt: [1], maxTokens: -1), .invalidRequest, "-1"),
        (GenerationRequest(prompt: [1], topLogprobs: -1), .invalidRequest, "-1 alternatives"),
        (GenerationRequest(prompt: [1], topLogprobs: .max), .invalidRequest, "99 positions"),
        (GenerationRequest(prompt: [1], promptLogprobs: .min), .invalidRequest, "alternatives"),
        (GenerationRequest(prompt: [1], sampling: .init(temperature: -0.1)), .invalidRequest, "-0.1"),
        (GenerationRequest(prompt: [1], sampling: .init(temperature: .nan)), .invalidRequest, "nan"),
        (GenerationRequest(prompt: [1], sampling: .init(temperature: .infinity)), .invalidRequest, "inf"),
        (GenerationRequest(prompt: [1], sampling: .init(topP: 1.01)), .invalidRequest, "top_p is 1.01"),
        (GenerationRequest(prompt: [1], sampling: .init(topP: -1)), .invalidRequest, "top_p is -1"),
        (GenerationRequest(prompt: [1], sampling: .init(topP: .nan)), .invalidRequest, "top_p is nan"),
        (request { $0.sampling.minP = -0.1 }, .invalidRequest, "min_p is -0.1"),
        (request { $0.sampling.topK = -2 }, .invalidRequest, "top_k is -2"),
        (request { $0.sampling.frequencyPenalty = 2.1 }, .invalidRequest, "frequency penalty is 2.1"),
        (request { $0.sampling.presencePenalty = -2.1 }, .invalidRequest, "presence penalty is -2.1"),
        (request { $0.sampling.repetitionPenalty = 0 }, .invalidRequest, "repetition penalty is 0"),
        (request { $0.sampling.repetitionPenalty = .infinity }, .invalidRequest, "repetition penalty is inf"),
        (request { $0.sampling.logitBias = [3: 100.5] }, .invalidRequest, "logit bias of token 3 is 100.5"),
        (request { $0.sampling.logitBias = [-1: 1] }, .invalidRequest, "token -1 of the logit bias"),
        (request { $0.sampling.logitBias = [.max: 1] }, .invalidRequest, "token 2147483647 of the logit bias"),
        (request { $0.minTokens = -1 }, .invalidRequest, "minimum of tokens is -1"),
        (
            request { ($0.minTokens, $0.maxTokens) = (6, 5) }, .invalidRequest,
            "6; it must be between 0 and the maximum, 5"
        ),
    ]

    private static func request(_ change: (inout GenerationRequest) -> Void) -> GenerationRequest {
        var request = GenerationRequest(prompt: [1])
        change(&request)
        return request
    }

    @Test("each mistake is named with what was found")
    func refusals() async throws {
        try await Reference.any().withEngine(EngineOptions(contextLength: 100)) { engine in
            for (request, kind, words) in Self.cases {
                let error = #expect(throws: EngineError.self) { try engine.submit(request) }
                #expect(error?.kind == kind)
                #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
            }
            let id = Int32(engine.vocabularySize)
            let error = #expect(throws: EngineError.self) { try engine.submit(GenerationRequest(prompt: [0, id])) }
            #expect(error?.description.contains("token \(id) at index 1") == true)
        }
    }
}
