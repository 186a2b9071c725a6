import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing

@Suite("config.json")
struct ModelConfigTests {
    /// The smallest that is accepted, in the style of the hub.
    static let hub: JSONValue = [
        "model_type": "gpt_oss", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "num_local_experts": 4, "experts_per_token": 2, "sliding_window": 8, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5.json, "rope_theta": 150_000, "quantization_config": ["quant_method": "mxfp4"],
        "rope_scaling": ["rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 64],
    ]

    private func changed(_ changes: [String: JSONValue?]) -> JSONValue {
        var object = Self.hub.object ?? JSONObject()
        for (name, value) in changes { object[name] = value }
        return .object(object)
    }

    private func refusal(_ config: JSONValue, generation: JSONValue? = nil) -> String {
        do {
            _ = try ModelConfig(config: config, generationConfig: generation)
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    @Test("has defaults where transformers has them")
    func defaults() throws {
        let config = try ModelConfig(config: Self.hub)
        #expect(config.layerTypes == [.slidingAttention, .fullAttention, .slidingAttention])
        #expect(config.swigluLimit == 7)
        #expect(config.swigluAlpha == 1.702)
        #expect(config.rope.betaFast == 32)
        #expect(config.rope.betaSlow == 1)
        #expect(config.rope.truncate)
        #expect(config.expertFormat == .mxfp4)
        #expect(config.endOfSequenceTokens == [])
    }

    @Test("means the same in the newer style")
    func newerStyle() throws {
        let newer = changed([
            "rope_theta": nil, "rope_scaling": nil, "experts_per_token": nil,
            "num_experts_per_tok": 2, "dtype": "bfloat16",
            "rope_parameters": [
                "rope_type": "yarn", "rope_theta": 150_000, "factor": 8, "original_max_position_embeddings": 64,
            ],
        ])
        #expect(try ModelConfig(config: newer) == ModelConfig(config: Self.hub))
    }

    @Test("takes the ends of a sequence from generation_config.json first")
    func endOfSequence() throws {
        let config = changed(["eos_token_id": 5])
        #expect(try ModelConfig(config: config).endOfSequenceTokens == [5])
        let generation: JSONValue = ["eos_token_id": [7, 8]]
        #expect(try ModelConfig(config: config, generationConfig: generation).endOfSequenceTokens == [7, 8])
        #expect(try ModelConfig(config: config, generationConfig: [:]).endOfSequenceTokens == [5])
        #expect(
            refusal(config, generation: ["eos_token_id": 300])
                == #"generation_config.json: field "eos_token_id": found 300, expected token ids below vocab_size, 300"#
        )
    }

    @Test("is written so that the same config is read back", arguments: Fixtures.models)
    func roundTrip(directory: URL) throws {
        let generation = try? Fixtures.json(directory.appending(path: "generation_config.json"))
        let config = try ModelConfig(directory: directory)
        #expect(try ModelConfig(config: config.json, generationConfig: generation) == config)
    }

    @Test("of gpt-oss-20b is what the preset has", .enabled(if: Fixtures.data != nil))
    func preset() throws {
        let data = try #require(Fixtures.data)
        var real = try ModelConfig(config: Fixtures.json(data.appending(path: "gpt-oss-20b.config.json")))
        real.endOfSequenceTokens = []
        #expect(Synthesis(.gptOSS20B).config == real)
    }

    @Test(
        "is refused field by field",
        arguments: [
            ("vocab_size", 0, "found 0, expected a whole number from 1 to 16777216"),
            ("vocab_size", nil, "found nothing, expected a whole number"),
            ("hidden_size", "64", #"found "64", expected a whole number"#),
            ("hidden_size", 64.5.json, "found 64.5, expected a whole number"),
            ("hidden_size", 48, "found 48, expected a multiple of 32"),
            ("intermediate_size", 9_223_372_036_854_775_807.json, "found 9223372036854775807, expected"),
            ("num_hidden_layers", -1, "found -1, expected a whole number from 1 to 1024"),
            ("num_attention_heads", 3, "found 2, expected a divisor of num_attention_heads, 3"),
            ("num_key_value_heads", 8, "found 8, expected a whole number from 1 to 4"),
            ("head_dim", 15, "found 15, expected an even number"),
            ("experts_per_token", 5, "found 5, expected a whole number from 1 to 4"),
            ("num_experts_per_tok", 3, "found 2, expected 3, as num_experts_per_tok says"),
            ("layer_types", ["full_attention"], "found 1 entries, expected 3 entries"),
            (
                "layer_types", ["full_attention", "x", "x"],
                #""layer_types[1]": found "x", expected "sliding_attention""#
            ),
            ("rms_norm_eps", 0, "found 0, expected a number from"),
            ("swiglu_limit", true, "found true, expected a number from"),
            ("tie_word_embeddings", true, "found true, expected false"),
            ("attention_bias", false, "found false, expected true"),
            ("hidden_act", "gelu", #"found "gelu", expected "silu""#),
            ("model_type", "llama", #"found "llama", expected "gpt_oss""#),
            ("architectures", ["LlamaForCausalLM"], "found an array, expected"),
            ("torch_dtype", "float16", #"found "float16", expected "bfloat16""#),
            ("quantization_config", ["quant_method": "gptq"], #"quant_method": found "gptq", expected "mxfp4""#),
            ("quantization_config", 4, "found 4, expected an object"),
            ("rope_scaling", nil, #"found nothing, expected an object of rope_type "yarn""#),
            ("rope_scaling", ["rope_type": "linear"], #""rope_scaling.rope_type": found "linear", expected "yarn""#),
            ("rope_theta", 0, "found 0, expected a number from"),
        ] as [(String, JSONValue?, String)])
    func refused(field: String, value: JSONValue?, message: String) {
        let found = refusal(changed([field: value]))
        #expect(found.hasPrefix("config.json: field "))
        #expect(found.contains(message))
    }

    @Test("in any of 100000 mutations is accepted only within bounds")
    func mutated() throws {
        var generator = SeededGenerator(seed: 12)
        let original = Array(Self.hub.serialized.utf8)
        let tokens = ["9223372036854775807", "-1", "[", "{", "\"", "null", "0", "1e999", "1e-9", "}", "true", "2"]
            .map { Array($0.utf8) }
        for _ in 0..<100_000 {
            let bytes = original.mutated(with: tokens, using: &generator)
            guard let value = try? JSONValue(parsing: bytes), let config = try? ModelConfig(config: value) else {
                continue
            }
            #expect(config.headCount % config.keyValueHeadCount == 0)
            #expect(config.expertsPerToken <= config.expertCount)
            #expect(config.tensorSlots.count == 3 + config.layerCount * (config.expertFormat == .mxfp4 ? 19 : 17))
        }
    }
}

extension Double {
    fileprivate var json: JSONValue { JSONValue(self) }
}
extension Int {
    fileprivate var json: JSONValue { JSONValue(self) }
}
