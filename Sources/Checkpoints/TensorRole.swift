/// What a tensor is for. The raw value is its name, for those of a layer what follows "model.layers.N.".
package enum TensorRole: String, CaseIterable, Sendable {
    case embedding = "model.embed_tokens.weight"
    case finalNorm = "model.norm.weight"
    case outputHead = "lm_head.weight"

    case inputNorm = "input_layernorm.weight"
    case queryWeight = "self_attn.q_proj.weight"
    case queryBias = "self_attn.q_proj.bias"
    case keyWeight = "self_attn.k_proj.weight"
    case keyBias = "self_attn.k_proj.bias"
    case valueWeight = "self_attn.v_proj.weight"
    case valueBias = "self_attn.v_proj.bias"
    case outputWeight = "self_attn.o_proj.weight"
    case outputBias = "self_attn.o_proj.bias"
    case sinks = "self_attn.sinks"
    case postAttentionNorm = "post_attention_layernorm.weight"
    case routerWeight = "mlp.router.weight"
    case routerBias = "mlp.router.bias"

    case gateUpBlocks = "mlp.experts.gate_up_proj_blocks"
    case gateUpScales = "mlp.experts.gate_up_proj_scales"
    case gateUp = "mlp.experts.gate_up_proj"
    case gateUpBias = "mlp.experts.gate_up_proj_bias"
    case downBlocks = "mlp.experts.down_proj_blocks"
    case downScales = "mlp.experts.down_proj_scales"
    case down = "mlp.experts.down_proj"
    case downBias = "mlp.experts.down_proj_bias"

    /// Whether each layer has one.
    var isPerLayer: Bool { ![.embedding, .finalNorm, .outputHead].contains(self) }

    /// Whether checkpoints with that expert format have it.
    func exists(in format: ModelConfig.ExpertFormat) -> Bool {
        switch self {
        case .gateUpBlocks, .gateUpScales, .downBlocks, .downScales: format == .mxfp4
        case .gateUp, .down: format == .bf16
        default: true
        }
    }

    var elementType: ElementType {
        switch self {
        case .gateUpBlocks, .gateUpScales, .downBlocks, .downScales: .u8
        default: .bf16
        }
    }

    /// The shape that the config calls for.
    func shape(_ config: ModelConfig) -> [Int] {
        let hidden = config.hiddenSize
        let intermediate = config.intermediateSize
        let experts = config.expertCount
        return switch self {
        case .embedding, .outputHead: [config.vocabularySize, hidden]
        case .finalNorm, .inputNorm, .postAttentionNorm, .outputBias: [hidden]
        case .queryWeight: [config.queryWidth, hidden]
        case .queryBias: [config.queryWidth]
        case .keyWeight, .valueWeight: [config.keyValueWidth, hidden]
        case .keyBias, .valueBias: [config.keyValueWidth]
        case .outputWeight: [hidden, config.queryWidth]
        case .sinks: [config.headCount]
        case .routerWeight: [experts, hidden]
        case .routerBias: [experts]
        case .gateUpBlocks: [experts, 2 * intermediate, hidden / 32, 16]
        case .gateUpScales: [experts, 2 * intermediate, hidden / 32]
        case .gateUp: [experts, hidden, 2 * intermediate]
        case .gateUpBias: [experts, 2 * intermediate]
        case .downBlocks: [experts, hidden, intermediate / 32, 16]
        case .downScales: [experts, hidden, intermediate / 32]
        case .down: [experts, intermediate, hidden]
        case .downBias: [experts, hidden]
        }
    }
}

/// One tensor that a checkpoint must have.
package struct TensorSlot: Sendable, Hashable {
    package let role: TensorRole
    /// Where the role is per layer.
    package let layer: Int?

    package var name: String { layer.map { "model.layers.\($0).\(role.rawValue)" } ?? role.rawValue }
}

extension ModelConfig {
    /// Every tensor that a checkpoint of this config has: the embedding, layer after layer, the head.
    package var tensorSlots: [TensorSlot] {
        let perLayer = TensorRole.allCases.filter { $0.isPerLayer && $0.exists(in: expertFormat) }
        return [TensorSlot(role: .embedding, layer: nil)]
            + (0..<layerCount).flatMap { layer in perLayer.map { TensorSlot(role: $0, layer: layer) } }
            + [.finalNorm, .outputHead].map { TensorSlot(role: $0, layer: nil) }
    }
}
