public import Foundation
public import JSON

extension ModelConfig {
    /// Reads a checkpoint's `config.json` and, where there is one, its `generation_config.json`.
    /// - Throws: ``CheckpointError`` naming file, field, found and expected.
    public init(directory: URL) throws {
        self = try Self.read(directory).config
    }

    /// Also gives the SHA-256 of `config.json`.
    static func read(_ directory: URL) throws -> (config: ModelConfig, digest: [UInt8]) {
        let (value, digest) = try readJSONAndDigest(directory.appending(path: "config.json"))
        let generation = directory.appending(path: "generation_config.json")
        var generationConfig: JSONValue?
        if FileManager.default.fileExists(atPath: generation.path) { generationConfig = try readJSON(generation) }
        let config = try ModelConfig(config: value, generationConfig: generationConfig)
        return (config, digest)
    }

    /// `config.json` as the hub's gpt-oss checkpoints have it, from which the same config is read back.
    public var json: JSONValue {
        var members: JSONObject = JSONObject()
        func number(_ value: Float) -> JSONValue { JSONValue(Double("\(value)") ?? Double(value)) }
        members["architectures"] = ["GptOssForCausalLM"]
        members["attention_bias"] = true
        members["attention_dropout"] = 0
        members["eos_token_id"] = endOfSequenceTokens.first.map { JSONValue($0) }
        members["experts_per_token"] = JSONValue(expertsPerToken)
        members["head_dim"] = JSONValue(headDimension)
        members["hidden_act"] = "silu"
        members["hidden_size"] = JSONValue(hiddenSize)
        members["initial_context_length"] = JSONValue(rope.originalMaxPositions)
        members["intermediate_size"] = JSONValue(intermediateSize)
        members["layer_types"] = .array(layerTypes.map { .string($0.rawValue) })
        members["max_position_embeddings"] = JSONValue(maxPositions)
        members["model_type"] = "gpt_oss"
        members["num_attention_heads"] = JSONValue(headCount)
        members["num_experts_per_tok"] = JSONValue(expertsPerToken)
        members["num_hidden_layers"] = JSONValue(layerCount)
        members["num_key_value_heads"] = JSONValue(keyValueHeadCount)
        members["num_local_experts"] = JSONValue(expertCount)
        if expertFormat == .mxfp4 {
            members["quantization_config"] = [
                "modules_to_not_convert": [
                    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
                ],
                "quant_method": "mxfp4",
            ]
        }
        members["rms_norm_eps"] = number(rmsNormEpsilon)
        members["rope_scaling"] = [
            "beta_fast": JSONValue(rope.betaFast), "beta_slow": JSONValue(rope.betaSlow),
            "factor": JSONValue(rope.factor),
            "original_max_position_embeddings": JSONValue(rope.originalMaxPositions), "rope_type": "yarn",
            "truncate": .bool(rope.truncate),
        ]
        members["rope_theta"] = JSONValue(rope.theta)
        members["sliding_window"] = JSONValue(slidingWindow)
        members["swiglu_alpha"] = number(swigluAlpha)
        members["swiglu_limit"] = number(swigluLimit)
        members["tie_word_embeddings"] = false
        members["torch_dtype"] = "bfloat16"
        members["use_cache"] = true
        members["vocab_size"] = JSONValue(vocabularySize)
        return .object(members)
    }
}
