extension SamplingParameters {
    /// Refuses what is out of range.
    /// - Throws: ``EngineError``.
    func validate(vocabularySize: Int) throws(EngineError) {
        try check("the temperature", temperature, 0...Float.greatestFiniteMagnitude, "0 or a positive number")
        try check("top_p", topP, 0...1, "between 0 and 1")
        try check("min_p", minP, 0...1, "between 0 and 1")
        try check("top_k", topK, -1...Int.max, "at least 1, or 0 or -1 for no limit")
        try check("the frequency penalty", frequencyPenalty, -2...2, "between -2 and 2")
        try check("the presence penalty", presencePenalty, -2...2, "between -2 and 2")
        try check(
            "the repetition penalty", repetitionPenalty,
            Float.leastNonzeroMagnitude...Float.greatestFiniteMagnitude, "a positive number")
        for (id, bias) in logitBias.sorted(by: { $0.key < $1.key }) {
            guard id >= 0, Int(id) < vocabularySize else {
                throw EngineError(
                    .invalidRequest, "token \(id) of the logit bias is not in the vocabulary of \(vocabularySize)")
            }
            try check("the logit bias of token \(id)", bias, -100...100, "between -100 and 100")
        }
    }

    private func check<Value>(
        _ name: String, _ value: Value, _ range: ClosedRange<Value>, _ expected: String
    ) throws(EngineError) {
        guard range.contains(value) else {
            throw EngineError(.invalidRequest, "\(name) is \(value); it must be \(expected)")
        }
    }
}
