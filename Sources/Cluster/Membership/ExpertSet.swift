/// Some of the experts of every layer: a bit each.
package struct ExpertSet: Sendable, Equatable {
    /// Layer after layer, each padded to whole bytes; least significant bit first.
    package private(set) var bytes: [UInt8]
    private let layers: Int
    private let experts: Int

    /// None.
    package init(shape: ModelShape) {
        layers = shape.layers
        experts = shape.experts
        bytes = [UInt8](repeating: 0, count: shape.layers * ((shape.experts + 7) / 8))
    }

    /// Nil when the bytes are not as many as the shape has, or name an expert that it has not.
    package init?(bytes: some Collection<UInt8>, shape: ModelShape) {
        self.init(shape: shape)
        guard bytes.count == self.bytes.count else { return nil }
        self.bytes = Array(bytes)
        for layer in 0..<layers {
            for padding in experts..<layerBytes * 8 where bit(layer, padding) { return nil }
        }
    }

    private var layerBytes: Int { (experts + 7) / 8 }

    private func bit(_ layer: Int, _ index: Int) -> Bool {
        bytes[layer * layerBytes + index / 8] >> UInt8(index % 8) & 1 != 0
    }

    /// False for what is beyond the shape.
    package func contains(layer: Int, expert: Int) -> Bool {
        (0..<layers).contains(layer) && (0..<experts).contains(expert) && bit(layer, expert)
    }

    /// The layer and the expert are within the shape.
    package mutating func insert(layer: Int, expert: Int) {
        bytes[layer * layerBytes + expert / 8] |= 1 << UInt8(expert % 8)
    }

    /// `other` is of the same shape.
    package mutating func formUnion(_ other: ExpertSet) {
        for (index, byte) in zip(bytes.indices, other.bytes) { bytes[index] |= byte }
    }

    /// Those of one layer, such as `0-3,7`.
    package func ranges(layer: Int) -> String {
        var ranges: [ClosedRange<Int>] = []
        for expert in 0..<experts where contains(layer: layer, expert: expert) {
            if let last = ranges.last, last.upperBound == expert - 1 {
                ranges[ranges.count - 1] = last.lowerBound...expert
            } else {
                ranges.append(expert...expert)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }

    package var count: Int { bytes.reduce(0) { $0 + $1.nonzeroBitCount } }
}
