/// How many rows each expert has had, the recent ones counted most.
package struct LoadHistory: Sendable {
    /// What is left of a row's weight after another period in which there were rows: half of it after 22.
    private static let decay = 31.0 / 32
    /// Rows that each expert is taken to have had before any was counted, so that few rows do not look like a pattern.
    private static let prior = 64.0

    private let shape: ModelShape
    /// As counted, since the start.
    private var totals: [UInt64]
    /// [layers][experts], decayed.
    package private(set) var rows: [Double]

    package init(shape: ModelShape) {
        self.shape = shape
        totals = [UInt64](repeating: 0, count: shape.layers * shape.experts)
        rows = [Double](repeating: 0, count: totals.count)
    }

    /// Takes the counts at the end of a period: [layers][experts], since the start. Where nothing was computed, nothing
    /// is forgotten.
    package mutating func observe(_ newTotals: [UInt64]) {
        guard newTotals.count == totals.count, newTotals != totals else { return }
        for pair in rows.indices {
            rows[pair] = rows[pair] * Self.decay + Double(newTotals[pair] &- totals[pair])
        }
        totals = newTotals
    }

    /// [layers][experts], relative to the layer's mean.
    package var loads: [Double] {
        var loads = rows.map { $0 + Self.prior }
        for start in stride(from: 0, to: loads.count, by: shape.experts) {
            let layer = start..<start + shape.experts
            let mean = loads[layer].reduce(0, +) / Double(shape.experts)
            for pair in layer { loads[pair] /= mean }
        }
        return loads
    }
}
