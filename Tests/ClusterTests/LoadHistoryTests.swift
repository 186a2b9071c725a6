import Cluster
import Testing

@Suite struct LoadHistoryTests {
    private let shape = ModelShape(layers: 2, experts: 4, hiddenSize: 64, intermediateSize: 64)

    @Test("few rows say little, many say all, and old ones are forgotten while new ones come")
    func loads() {
        var history = LoadHistory(shape: shape)
        #expect(history.loads == [Double](repeating: 1, count: 8))
        var totals: [UInt64] = [4, 0, 0, 0, 0, 0, 0, 0]
        history.observe(totals)
        #expect(history.loads[0] < 1.05)
        totals = [0, 0, 0, 100_000, 7, 7, 7, 7].map { $0 + 10 }
        history.observe(totals)
        #expect(history.loads[3] > 3.9 && history.loads[0] < 0.01 && history.loads[4...] == [1, 1, 1, 1])
        let before = history.rows
        for _ in 0..<100 { history.observe(totals) }
        #expect(history.rows == before, "nothing was computed")
        for _ in 0..<300 {
            totals[0] += 1000
            history.observe(totals)
        }
        #expect(history.loads[0] > 3.5 && history.loads[3] < 0.1)
        history.observe([1, 2, 3])
        #expect(history.loads[0] > 3.5, "counts of another shape are none")
    }
}
