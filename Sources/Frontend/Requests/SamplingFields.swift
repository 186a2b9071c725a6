import Engine
import JSON

/// What the chat and the completions request say alike about drawing tokens and about the form of the answer.
package struct SamplingFields: Sendable {
    package var temperature = 1.0
    package var topP = 1.0
    package var seed: Int?
    /// The number of choices per prompt.
    package var choices = 1
    package var stop: [String] = []
    package var streams = false
    package var includesUsage = false

    /// At most so many choices are drawn for one request.
    static let maximumChoices = 128
    private static let maximumStops = 16

    /// - Throws: ``APIError``.
    init(_ reader: inout ObjectReader) throws {
        if let field = reader.field("temperature") { temperature = try field.number(in: 0...2) }
        if let field = reader.field("top_p") { topP = try field.number(in: 0...1) }
        if let field = reader.field("seed") { seed = try field.integer(in: Int.min...Int.max) }
        if let field = reader.field("n") { choices = try field.integer(in: 1...Self.maximumChoices) }
        if let field = reader.field("stop") { stop = try Self.stops(field) }
        if let field = reader.field("stream") { streams = try field.bool() }
        if let field = reader.field("stream_options") { includesUsage = try streamOptions(field) }

        // What OpenAI knows and this server has no use for.
        reader.ignore("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
        try Self.refuseUnsupported(&reader)
    }

    private static func stops(_ field: Field) throws -> [String] {
        let fields = field.value.string == nil ? try field.elements() : [field]
        guard fields.count <= maximumStops else {
            throw field.invalid("\(fields.count) stop strings are more than \(maximumStops)", code: "invalid_value")
        }
        return try fields.map { field in
            let text = try field.string()
            guard !text.isEmpty else { throw field.invalid("a stop string must not be empty", code: "invalid_value") }
            return text
        }
    }

    private func streamOptions(_ field: Field) throws -> Bool {
        guard streams else {
            throw field.invalid("it is only allowed when 'stream' is true", code: "invalid_value")
        }
        var reader = try field.object()
        let includesUsage = try reader.field("include_usage")?.bool() ?? false
        reader.ignore("include_obfuscation")
        try reader.refuse("continuous_usage_stats", unless: false)
        try reader.end()
        return includesUsage
    }

    /// What OpenAI and vLLM have and this server has not: it is refused where it would change the answer.
    private static func refuseUnsupported(_ reader: inout ObjectReader) throws {
        try reader.refuse("frequency_penalty", unless: 0)
        try reader.refuse("presence_penalty", unless: 0)
        try reader.refuse("repetition_penalty", unless: 1)
        try reader.refuse("logit_bias", unless: [:])
        try reader.refuse("top_k", unless: -1, 0)
        try reader.refuse("min_p", unless: 0)
        try reader.refuse("min_tokens", unless: 0)
        try reader.refuse("ignore_eos", unless: false)
        try reader.refuse("stop_token_ids", unless: [])
        try reader.refuse("use_beam_search", unless: false)
        try reader.refuse("response_format", unless: ["type": "text"])
    }

    /// The engine's parameters for one of the choices; each has a seed of its own, so that they differ.
    func parameters(choice: Int) -> SamplingParameters {
        SamplingParameters(
            temperature: Float(temperature), topP: Float(topP),
            seed: seed.map { UInt64(bitPattern: Int64($0)) &+ UInt64(choice) })
    }
}
