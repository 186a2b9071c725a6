package import Engine
import JSON

/// What the chat and the completions request say alike about drawing tokens.
package struct SamplingFields: Sendable {
    /// The seed is the request's; each choice counts its own from it.
    package private(set) var parameters = SamplingParameters()

    /// At most so many tokens have a bias: each is looked at for every token that is drawn.
    private static let maximumBiases = 1024

    /// - Throws: ``APIError``.
    init(_ reader: inout ObjectReader, model: ServedModel) throws {
        func float(_ name: String, in range: ClosedRange<Double>, _ path: WritableKeyPath<SamplingParameters, Float>)
            throws
        {
            if let field = reader.field(name) { parameters[keyPath: path] = Float(try field.number(in: range)) }
        }
        try float("temperature", in: 0...2, \.temperature)
        try float("top_p", in: 0...1, \.topP)
        try float("min_p", in: 0...1, \.minP)
        try float("frequency_penalty", in: -2...2, \.frequencyPenalty)
        try float("presence_penalty", in: -2...2, \.presencePenalty)
        // Above 0, and not so near to it that nothing but the penalty counted.
        try float("repetition_penalty", in: 0.01...100, \.repetitionPenalty)
        if let field = reader.field("top_k") { parameters.topK = try field.integer(in: -1...Int.max) }
        if let field = reader.field("logit_bias") { parameters.logitBias = try Self.bias(field, model: model) }
        if let field = reader.field("seed") {
            parameters.seed = UInt64(bitPattern: Int64(try field.integer(in: Int.min...Int.max)))
        }
    }

    /// Biases by token ids, which JSON writes as strings.
    private static func bias(_ field: Field, model: ServedModel) throws -> [Int32: Float] {
        let members = try field.object().object.members
        guard members.count <= maximumBiases else {
            throw field.invalid("\(members.count) biases are more than \(maximumBiases)", code: "invalid_value")
        }
        var biases: [Int32: Float] = [:]
        for member in members {
            let name = String(member.name.prefix(40))
            let bias = Field(path: "\(field.path).\(name)", value: member.value)
            guard let id = Int32(name), (0..<model.vocabularySize).contains(Int(id)), String(id) == member.name else {
                throw bias.invalid(
                    "'\(name)' is not a token id between 0 and \(model.vocabularySize - 1)", code: "invalid_value")
            }
            biases[id] = Float(try bias.number(in: -100...100))
        }
        return biases
    }
}
