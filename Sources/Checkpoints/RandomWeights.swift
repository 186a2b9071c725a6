/// How the elements of a synthetic tensor are distributed. Every eight bytes of the tensor are a function of one
/// 64-bit random number, so that any part of it can be made by itself.
///
/// Only integers and correctly rounded float operations are used: the bytes are the same on every machine.
struct RandomWeights: Sendable {
    private enum Shape {
        /// bfloat16 values from a table of 65536.
        case table([UInt16])
        /// Any bytes: a pair of MXFP4 codes each.
        case bytes
        /// MXFP4 scales: `lower + 1` for `threshold` of 256 bytes, otherwise `lower`.
        case scales(lower: UInt8, threshold: UInt64)
    }

    private let shape: Shape
    private let key: UInt64

    /// The distribution of the tensor in that slot, for activations that neither vanish nor grow over the layers, and
    /// for experts that are chosen equally often.
    init(_ slot: TensorSlot, _ config: ModelConfig, seed: UInt64) {
        var hash = SHA256()
        hash.update("synthetic weights \(seed) \(slot.name)")
        key = hash.finish().prefix(8).reduce(0) { $0 << 8 | UInt64($1) }

        // What a layer adds is scaled so that all layers together add about as much as the embedding holds.
        let residual = 1 / Double(config.layerCount).squareRoot()
        func projection(from width: Int, gain: Double) -> Double { gain / Double(width).squareRoot() }
        let gateUp = projection(from: config.hiddenSize, gain: 2)  // wide enough to reach SwiGLU's clamp at times
        let down = projection(from: config.intermediateSize, gain: residual / 2)
        shape =
            switch slot.role {
            case .embedding: Self.normal(deviation: 1)
            case .finalNorm, .inputNorm, .postAttentionNorm: Self.normal(mean: 1, deviation: 0.1)
            case .outputHead: Self.normal(deviation: projection(from: config.hiddenSize, gain: 4))
            case .queryWeight, .keyWeight, .valueWeight:
                Self.normal(deviation: projection(from: config.hiddenSize, gain: 1))
            case .outputWeight: Self.normal(deviation: projection(from: config.queryWidth, gain: residual))
            case .routerWeight: Self.normal(deviation: projection(from: config.hiddenSize, gain: 1.5))
            case .sinks: Self.normal(deviation: 1)
            case .queryBias, .keyBias, .valueBias, .gateUpBias: Self.normal(deviation: 0.1)
            case .outputBias, .downBias: Self.normal(deviation: 0.02)
            case .routerBias: Self.normal(deviation: 0.05)
            case .gateUp: Self.normal(deviation: gateUp)
            case .down: Self.normal(deviation: down)
            case .gateUpBlocks, .downBlocks: .bytes
            case .gateUpScales: Self.scales(deviation: gateUp)
            case .downScales: Self.scales(deviation: down)
            }
    }

    /// Fills `buffer` with the tensor's bytes from `offset`, a multiple of 8.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, from offset: Int) {
        let first = UInt64(offset / 8)
        switch shape {
        case .bytes:
            Self.fill(buffer) { Self.random(key, first &+ $0) }
        case .scales(let lower, let threshold):
            Self.fill(buffer) { index in
                let random = Self.random(key, first &+ index)
                var word: UInt64 = 0
                for byte in UInt64(0)..<8 {
                    let isUpper: UInt64 = (random >> (8 * byte)) & 0xFF < threshold ? 1 : 0
                    word |= (UInt64(lower) &+ isUpper) << (8 * byte)
                }
                return word
            }
        case .table(let table):
            table.withUnsafeBufferPointer { table in
                Self.fill(buffer) { index in
                    let random = Self.random(key, first &+ index)
                    var word: UInt64 = 0
                    for element in UInt64(0)..<4 {
                        word |= UInt64(table[Int((random >> (16 * element)) & 0xFFFF)]) << (16 * element)
                    }
                    return word
                }
            }
        }
    }

    /// Stores a word for every eight bytes, and what fits of one at the end.
    @inline(__always)
    private static func fill(_ buffer: UnsafeMutableRawBufferPointer, _ word: (UInt64) -> UInt64) {
        let whole = buffer.count / 8
        for index in 0..<whole {
            buffer.storeBytes(of: word(UInt64(index)).littleEndian, toByteOffset: index * 8, as: UInt64.self)
        }
        guard whole * 8 < buffer.count else { return }
        withUnsafeBytes(of: word(UInt64(whole)).littleEndian) { rest in
            for (index, byte) in zip(whole * 8..<buffer.count, rest) { buffer[index] = byte }
        }
    }

    /// The counter-th number of SplitMix64 (Steele, Lea, Flood 2014) that starts at `key`.
    @inline(__always)
    private static func random(_ key: UInt64, _ counter: UInt64) -> UInt64 {
        var z = key &+ counter &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    /// 32768 samples of nearly the standard normal distribution, the sums of four uniform numbers, which need no
    /// logarithm; each will stand in a table with both signs, so that the mean is exact.
    private static let samples: [Float] = (0..<32768).map { index in
        let random = random(0, UInt64(index))
        let sum = (0..<4).reduce(0) { $0 + Int((random >> (16 * UInt64($1))) & 0xFFFF) } - 2 * 65535
        return Float(sum) / (65536 * Float(4.0 / 12).squareRoot())
    }

    private static func normal(mean: Float = 0, deviation: Double) -> Shape {
        let deviation = Float(deviation)
        var table: [UInt16] = []
        table.reserveCapacity(2 * samples.count)
        for sample in samples {
            // To the nearest bfloat16.
            table.append(UInt16(truncatingIfNeeded: ((mean + deviation * sample).bitPattern &+ 0x8000) >> 16))
            table.append(UInt16(truncatingIfNeeded: ((mean - deviation * sample).bitPattern &+ 0x8000) >> 16))
        }
        return .table(table)
    }

    /// Two neighbouring scales, mixed so that codes drawn evenly have the wanted standard deviation.
    private static func scales(deviation: Double) -> Shape {
        // The mean square of the E2M1 values 0, 0.5, 1, 1.5, 2, 3, 4 and 6.
        let variance = deviation * deviation / (68.5 / 8)
        var lower = 127
        var square = 1.0  // that of the lower scale
        while square > variance, lower > 0 {
            lower -= 1
            square /= 4
        }
        while square * 4 <= variance, lower < 253 {
            lower += 1
            square *= 4
        }
        let share = min(max((variance / square - 1) / 3, 0), 1)
        return .scales(lower: UInt8(lower), threshold: UInt64((share * 256).rounded()))
    }
}
