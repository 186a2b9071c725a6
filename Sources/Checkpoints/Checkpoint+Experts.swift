extension Checkpoint: ExpertSource {
    /// The dimensions of its experts.
    public var expertConfig: ExpertConfig { ExpertConfig(config) }

    /// Where an expert lies in the mapped files; nil for one that the model does not have.
    public func parts(layer: Int, expert: Int) -> ExpertParts? {
        guard layers.indices.contains(layer), (0..<config.expertCount).contains(expert) else { return nil }
        func part(_ weights: Tensor, _ scales: Tensor?, _ bias: Tensor) -> ExpertParts.Part? {
            guard let first = start(of: expert, weights), let last = start(of: expert, bias) else { return nil }
            return ExpertParts.Part(weights: first, scales: scales.flatMap { start(of: expert, $0) }, bias: last)
        }
        let (gateUp, down): (ExpertParts.Part?, ExpertParts.Part?) =
            switch layers[layer].experts {
            case .mxfp4(let gateUp, let gateUpScales, let gateUpBias, let down, let downScales, let downBias):
                (part(gateUp, gateUpScales, gateUpBias), part(down, downScales, downBias))
            case .bf16(let gateUp, let gateUpBias, let down, let downBias):
                (part(gateUp, nil, gateUpBias), part(down, nil, downBias))
            }
        guard let gateUp, let down else { return nil }
        return ExpertParts(gateUp: gateUp, down: down, owner: self)
    }

    private func start(of expert: Int, _ tensor: Tensor) -> UnsafeRawPointer? {
        tensor.bytes.baseAddress.map { $0 + expert * (tensor.bytes.count / config.expertCount) }
    }

    /// The bytes of one expert, tensor after tensor in the order of ``ExpertLayout``; none for an expert that the model
    /// does not have. Valid while the checkpoint exists.
    package func slices(layer: Int, expert: Int) -> [UnsafeRawBufferPointer] {
        guard layers.indices.contains(layer), (0..<config.expertCount).contains(expert) else { return [] }
        return layers[layer].experts.all.map { tensor in
            let size = tensor.bytes.count / config.expertCount
            return UnsafeRawBufferPointer(rebasing: tensor.bytes[expert * size..<(expert + 1) * size])
        }
    }
}

extension ExpertTensors {
    /// All of them; each is [experts, …], so that an expert's part is one range of bytes.
    fileprivate var all: [Tensor] {
        switch self {
        case .mxfp4(let gateUpBlocks, let gateUpScales, let gateUpBias, let downBlocks, let downScales, let downBias):
            [gateUpBlocks, gateUpScales, gateUpBias, downBlocks, downScales, downBias]
        case .bf16(let gateUp, let gateUpBias, let down, let downBias): [gateUp, gateUpBias, down, downBias]
        }
    }
}
