extension GenerationRequest {
    /// Alternatives that one request may ask for over all its positions; they are held until they are read.
    static let maximumAlternatives = 1 << 24

    /// Refuses what the engine could not run to its end.
    /// - Throws: ``EngineError``.
    func validate(contextLength: Int, vocabularySize: Int) throws(EngineError) {
        guard !prompt.isEmpty else { throw EngineError(.invalidRequest, "the prompt is empty; it needs a token") }
        if let index = prompt.firstIndex(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw EngineError(
                .invalidRequest,
                "token \(prompt[index]) at index \(index) of the prompt is not in the vocabulary of \(vocabularySize)")
        }
        try validateLimits()
        let longest = maxTokens == 0 ? contextLength : contextLength - 1
        guard prompt.count <= longest else {
            throw EngineError(
                .promptTooLong,
                "the prompt has \(prompt.count) tokens; with a context of \(contextLength) it may have \(longest)")
        }
        try sampling.validate(vocabularySize: vocabularySize)
        try validateAlternatives(promptLogprobs, positions: prompt.count)
        try validateAlternatives(topLogprobs, positions: min(maxTokens ?? .max, contextLength - prompt.count))
    }

    private func validateLimits() throws(EngineError) {
        if let maxTokens, maxTokens < 0 {
            throw EngineError(.invalidRequest, "the maximum of tokens is \(maxTokens); it must be at least 0")
        }
        guard (0...(maxTokens ?? .max)).contains(minTokens) else {
            throw EngineError(
                .invalidRequest,
                "the minimum of tokens is \(minTokens); it must be between 0 and the maximum, "
                    + (maxTokens.map { "\($0)" } ?? "which is not set"))
        }
    }

    private func validateAlternatives(_ count: Int?, positions: Int) throws(EngineError) {
        let most = Self.maximumAlternatives / max(positions, 1)
        guard let count, !(0...most).contains(count) else { return }
        throw EngineError(
            .invalidRequest,
            "\(count) alternatives are asked for at each of \(positions) positions; it must be between 0 and \(most)")
    }
}
