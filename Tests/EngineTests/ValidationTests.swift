import Engine
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
    ]

    @Test("each mistake is named with what was found")
    func refusals() async throws {
        try await Model.any().withEngine(EngineOptions(contextLength: 100)) { engine in
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
