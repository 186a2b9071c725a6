/// The experts' matrices of one layer.
public enum ExpertTensors: Sendable {
    /// blocks [experts, rows, columns/32, 16], scales [experts, rows, columns/32], bias [experts, rows].
    case mxfp4(
        gateUpBlocks: Tensor, gateUpScales: Tensor, gateUpBias: Tensor, downBlocks: Tensor, downScales: Tensor,
        downBias: Tensor)
    /// The transposed, unquantised layout: gateUp [experts, hidden, 2 * intermediate], down [experts, intermediate, hidden].
    case bf16(gateUp: Tensor, gateUpBias: Tensor, down: Tensor, downBias: Tensor)
}

/// One layer's tensors.
public struct LayerTensors: Sendable {
    /// RMSNorm weights, [hidden].
    public let inputNorm, postAttentionNorm: Tensor
    /// Projections of attention, [out, in].
    public let queryWeight, keyWeight, valueWeight, outputWeight: Tensor
    /// Their biases, [out].
    public let queryBias, keyBias, valueBias, outputBias: Tensor
    /// One logit a query head, [heads].
    public let sinks: Tensor
    /// The router, [experts, hidden].
    public let routerWeight: Tensor
    /// Its bias, [experts].
    public let routerBias: Tensor
    /// The experts.
    public let experts: ExpertTensors

    init(_ format: ModelConfig.ExpertFormat, _ tensor: (TensorRole) throws -> Tensor) rethrows {
        inputNorm = try tensor(.inputNorm)
        postAttentionNorm = try tensor(.postAttentionNorm)
        queryWeight = try tensor(.queryWeight)
        keyWeight = try tensor(.keyWeight)
        valueWeight = try tensor(.valueWeight)
        outputWeight = try tensor(.outputWeight)
        queryBias = try tensor(.queryBias)
        keyBias = try tensor(.keyBias)
        valueBias = try tensor(.valueBias)
        outputBias = try tensor(.outputBias)
        sinks = try tensor(.sinks)
        routerWeight = try tensor(.routerWeight)
        routerBias = try tensor(.routerBias)
        experts =
            switch format {
            case .mxfp4:
                .mxfp4(
                    gateUpBlocks: try tensor(.gateUpBlocks), gateUpScales: try tensor(.gateUpScales),
                    gateUpBias: try tensor(.gateUpBias), downBlocks: try tensor(.downBlocks),
                    downScales: try tensor(.downScales), downBias: try tensor(.downBias))
            case .bf16:
                .bf16(
                    gateUp: try tensor(.gateUp), gateUpBias: try tensor(.gateUpBias), down: try tensor(.down),
                    downBias: try tensor(.downBias))
            }
    }
}
