package import Engine
import JSON

/// What the chat and the completions request say alike about the generation and the form of the answer.
package struct GenerationFields: Sendable {
    package var sampling: SamplingFields
    /// The number of choices per prompt.
    package var choices = 1
    package var stop: [String] = []
    package var stopTokens: Set<Int32> = []
    /// Whether the model's own end tokens are tokens like others.
    package var ignoresEnd = false
    package var minTokens = 0
    /// The number of alternatives to report for each prompt token; nil: no log-probabilities of the prompt.
    package var promptLogprobs: Int?
    package var priority = 0
    package var cacheSalt = ""
    package var streams = false
    package var includesUsage = false

    /// At most so many choices are drawn for one request.
    static let maximumChoices = 128
    private static let maximumStops = 16
    private static let maximumStopBytes = 1024

    /// - Throws: ``APIError``.
    init(_ reader: inout ObjectReader, model: ServedModel) throws {
        sampling = try SamplingFields(&reader, model: model)
        if let field = reader.field("n") { choices = try field.integer(in: 1...Self.maximumChoices) }
        if let field = reader.field("stop") { stop = try Self.stops(field) }
        if let field = reader.field("stop_token_ids") { stopTokens = Set(try model.tokens(field)) }
        if let field = reader.field("ignore_eos") { ignoresEnd = try field.bool() }
        if let field = reader.field("min_tokens") { minTokens = try field.integer(in: 0...Int.max) }
        if let field = reader.field("priority") { priority = try field.integer(in: Int.min...Int.max) }
        if let field = reader.field("cache_salt") { cacheSalt = try Self.salt(field) }
        if let field = reader.field("stream") { streams = try field.bool() }
        if let field = reader.field("stream_options") { includesUsage = try streamOptions(field) }
        if let field = reader.field("prompt_logprobs") { promptLogprobs = try promptLogprobs(field) }

        // What OpenAI knows and this server has no use for.
        reader.ignore("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
        // What OpenAI and vLLM have and this server has not: it is refused where it would change the answer.
        try reader.refuse("use_beam_search", unless: false)
        try reader.refuse("response_format", unless: ["type": "text"])
    }

    private static func stops(_ field: Field) throws -> [String] {
        let fields = field.value.string == nil ? try field.elements() : [field]
        guard fields.count <= maximumStops else {
            throw field.invalid("\(fields.count) stop strings are more than \(maximumStops)", code: "invalid_value")
        }
        return try fields.map { field in
            let text = try field.string()
            guard (1...maximumStopBytes).contains(text.utf8.count) else {
                throw field.invalid(
                    "a stop string has \(text.utf8.count) bytes; expected 1 to \(maximumStopBytes)",
                    code: "invalid_value")
            }
            return text
        }
    }

    private static func salt(_ field: Field) throws -> String {
        let salt = try field.string()
        guard !salt.isEmpty else { throw field.invalid("a salt must not be empty", code: "invalid_value") }
        return salt
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

    private func promptLogprobs(_ field: Field) throws -> Int {
        let count = try field.integer(in: 0...20)
        guard !streams else { throw field.invalid("it is not available when 'stream' is true", code: "invalid_value") }
        return count
    }

    /// Refuses more tokens at least than at most.
    /// - Parameter field: The name of the field that says `maxTokens`.
    /// - Throws: ``APIError``.
    func checkMinTokens(maxTokens: Int?, field: String) throws {
        guard let maxTokens, minTokens > maxTokens else { return }
        throw APIError.invalid(
            "Invalid 'min_tokens': \(minTokens) is more than '\(field)', which is \(maxTokens).", param: "min_tokens",
            code: "invalid_value")
    }

    /// What the engine is asked for one of the choices; each has a seed of its own, so that they differ.
    /// - Parameter endTokens: The model's own.
    package func request(
        prompt: [Int32], choice: Int, maxTokens: Int?, endTokens: Set<Int32>, topLogprobs: Int?, client: Client
    ) -> GenerationRequest {
        var request = GenerationRequest(
            prompt: prompt, sampling: sampling.parameters, maxTokens: maxTokens,
            stopTokens: ignoresEnd ? stopTokens : stopTokens.union(endTokens), topLogprobs: topLogprobs,
            promptLogprobs: promptLogprobs)
        request.sampling.seed = request.sampling.seed.map { $0 &+ UInt64(choice) }
        request.minTokens = minTokens
        request.priority = priority
        request.cacheSalt = cacheSalt
        request.tenant = client.tenant
        request.deadline = client.deadline
        return request
    }

    /// What ends an answer beside the model itself.
    func stopRules(endTokens: Set<Int32>) -> StopRules {
        StopRules(
            strings: stop, tokens: ignoresEnd ? stopTokens : stopTokens.subtracting(endTokens), minTokens: minTokens)
    }
}

/// On whose behalf a request is run, and until when.
package struct Client: Sendable {
    /// The API key that the request came with; empty where there was none.
    package var tenant: String
    package var deadline: ContinuousClock.Instant?

    package init(tenant: String = "", deadline: ContinuousClock.Instant? = nil) {
        self.tenant = tenant
        self.deadline = deadline
    }
}
