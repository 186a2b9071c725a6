public import JSON

extension ModelConfig {
    /// Reads `config.json` and, where there is one, `generation_config.json`, in either style of transformers: with
    /// `rope_scaling` and `rope_theta`, or with `rope_parameters`.
    ///
    /// Every dimension is bounded so that no product of them overflows, and what this architecture could have but this
    /// program does not compute is refused rather than ignored.
    /// - Throws: ``CheckpointError`` naming file, field, found and expected.
    public init(config: JSONValue, generationConfig: JSONValue? = nil) throws {
        let fields = try ConfigFields(config, file: "config.json")
        try Self.refuseUnsupported(fields)

        vocabularySize = try fields.integer("vocab_size", in: 1...1 << 24)
        hiddenSize = try fields.integer("hidden_size", in: Bounds.width)
        intermediateSize = try fields.integer("intermediate_size", in: Bounds.width)
        layerTypes = try Self.layerTypes(fields)
        headCount = try fields.integer("num_attention_heads", in: 1...1 << 12)
        keyValueHeadCount = try fields.integer("num_key_value_heads", in: 1...headCount)
        headDimension = try fields.integer("head_dim", in: 2...1 << 12)
        expertCount = try fields.integer("num_local_experts", in: Bounds.experts)
        expertsPerToken = try Self.expertsPerToken(fields, of: expertCount)
        slidingWindow = try fields.integer("sliding_window", in: 1...1 << 30)
        maxPositions = try fields.integer("max_position_embeddings", in: 1...1 << 30)
        rmsNormEpsilon = Float(try fields.real("rms_norm_eps", in: 1e-12...1))
        swigluLimit = Float(try fields.real("swiglu_limit", in: Bounds.swigluLimit, default: 7))
        swigluAlpha = Float(try fields.real("swiglu_alpha", in: Bounds.swigluAlpha, default: 1.702))
        rope = try RoPE(fields)
        expertFormat = try Self.expertFormat(fields)
        endOfSequenceTokens = []

        guard headCount.isMultiple(of: keyValueHeadCount) else {
            throw fields.refusal("num_key_value_heads", expected: "a divisor of num_attention_heads, \(headCount)")
        }
        guard headDimension.isMultiple(of: 2) else { throw fields.refusal("head_dim", expected: "an even number") }
        if expertFormat == .mxfp4 {
            for field in ["hidden_size", "intermediate_size"] {
                guard try fields.integer(field, in: Bounds.width).isMultiple(of: 32) else {
                    throw fields.refusal(field, expected: "a multiple of 32, the length of an MXFP4 block")
                }
            }
        }
        let generation = try generationConfig.map { try ConfigFields($0, file: "generation_config.json") }
        endOfSequenceTokens =
            try generation.flatMap { try endOfSequenceTokens(in: $0) } ?? endOfSequenceTokens(in: fields) ?? []
    }

    private static func refuseUnsupported(_ fields: ConfigFields) throws {
        try fields.require("model_type", is: "gpt_oss", orAbsent: false)
        if fields["architectures"] != nil { try fields.require("architectures", is: ["GptOssForCausalLM"]) }
        try fields.require("hidden_act", is: "silu")
        try fields.require("attention_bias", is: true)
        try fields.require("tie_word_embeddings", is: false)
        try fields.require("dtype", is: "bfloat16")
        try fields.require("torch_dtype", is: "bfloat16")
    }

    /// Sliding, full, sliding, …
    static func alternatingLayers(_ count: Int) -> [LayerType] {
        (0..<count).map { $0.isMultiple(of: 2) ? .slidingAttention : .fullAttention }
    }

    private static func layerTypes(_ fields: ConfigFields) throws -> [LayerType] {
        let count = try fields.integer("num_hidden_layers", in: Bounds.layers)
        guard let value = fields["layer_types"] else {
            return alternatingLayers(count)
        }
        guard let elements = value.array, elements.count == count else {
            let found = value.array.map { "\($0.count) entries" } ?? value.kind
            throw CheckpointError(
                fields.file, field: "layer_types", found: found, expected: "\(count) entries, as num_hidden_layers says"
            )
        }
        return try elements.enumerated().map { index, element in
            guard let type = element.string.flatMap(LayerType.init) else {
                throw CheckpointError(
                    fields.file, field: "layer_types[\(index)]", found: shown(element),
                    expected: #""sliding_attention" or "full_attention""#)
            }
            return type
        }
    }

    /// Either of two names; where both are given, they must agree.
    private static func expertsPerToken(_ fields: ConfigFields, of expertCount: Int) throws -> Int {
        let names = ["num_experts_per_tok", "experts_per_token"].filter { fields[$0] != nil }
        let counts = try names.map { try fields.integer($0, in: 1...expertCount) }
        guard let count = counts.first else {
            throw fields.refusal("num_experts_per_tok", expected: "a whole number from 1 to \(expertCount)")
        }
        guard counts.allSatisfy({ $0 == count }) else {
            throw fields.refusal("experts_per_token", expected: "\(count), as num_experts_per_tok says")
        }
        return count
    }

    private static func expertFormat(_ fields: ConfigFields) throws -> ExpertFormat {
        guard let quantization = try fields.section("quantization_config") else { return .bf16 }
        try quantization.require("quant_method", is: "mxfp4", orAbsent: false)
        return .mxfp4
    }

    private func endOfSequenceTokens(in fields: ConfigFields) throws -> [Int32]? {
        guard let value = fields["eos_token_id"] else { return nil }
        return try (value.array ?? [value]).map { element in
            guard let id = element.integer, (0..<vocabularySize).contains(id) else {
                throw CheckpointError(
                    fields.file, field: "eos_token_id", found: shown(element),
                    expected: "token ids below vocab_size, \(vocabularySize)")
            }
            return Int32(id)
        }
    }
}

extension ModelConfig.RoPE {
    fileprivate init(_ fields: ConfigFields) throws {
        let parameters = try fields.section("rope_parameters")
        guard let section = try parameters ?? fields.section("rope_scaling") else {
            throw fields.refusal("rope_scaling", expected: "an object of rope_type \"yarn\"")
        }
        let typeField = section["rope_type"] == nil && section["type"] != nil ? "type" : "rope_type"
        try section.require(typeField, is: "yarn", orAbsent: false)
        for field in ["attention_factor", "mscale", "mscale_all_dim"] where section[field] != nil {
            throw section.refusal(field, expected: "nothing: the attention factor follows from \"factor\"")
        }
        if section["partial_rotary_factor"] != nil { _ = try section.real("partial_rotary_factor", in: 1...1) }
        theta = try (parameters?["rope_theta"] == nil ? fields : section).real("rope_theta", in: 2...1e12)
        factor = try section.real("factor", in: 1...1e6)
        betaFast = try section.real("beta_fast", in: 1e-3...1e6, default: 32)
        betaSlow = try section.real("beta_slow", in: 1e-3...1e6, default: 1)
        guard betaSlow < betaFast else {
            throw section.refusal("beta_slow", expected: "less than beta_fast, \(betaFast)")
        }
        originalMaxPositions = try section.integer("original_max_position_embeddings", in: 1...1 << 30)
        truncate = try section.truth("truncate", default: true)
    }
}
