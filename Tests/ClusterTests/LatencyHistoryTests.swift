import Cluster
import TestSupport
import Testing

@Suite struct LatencyHistoryTests {
    @Test("the limit is four deviations above the mean, as RFC 6298 has it")
    func limit() {
        var history = LatencyHistory()
        history.add(seconds: 1, assignments: 4)
        #expect(history.limit(assignments: 4) == 1 + 4 * 0.5)
        history.add(seconds: 2, assignments: 4)
        // The deviation first, from the old mean: 3/4 · 0.5 + 1/4 · 1; then 7/8 · 1 + 1/8 · 2.
        #expect(history.limit(assignments: 4) == 1.125 + 4 * 0.625)
    }

    @Test("a steady worker's limit comes near its mean; one that varies keeps a distance")
    func spread() {
        var steady = LatencyHistory()
        var varying = LatencyHistory()
        var random = SeededGenerator(seed: 1)
        for _ in 0..<200 {
            steady.add(seconds: 0.01, assignments: 4)
            varying.add(seconds: .random(in: 0...0.02, using: &random), assignments: 4)
        }
        #expect(steady.limit(assignments: 4) < 0.0101)
        #expect((0.02...0.05).contains(varying.limit(assignments: 4)))
    }

    @Test("few rows and many have histories of their own")
    func sizes() {
        var history = LatencyHistory()
        for _ in 0..<50 {
            history.add(seconds: 0.001, assignments: 4)
            history.add(seconds: 0.5, assignments: 2048)
        }
        #expect(history.limit(assignments: 5) < 0.002)
        #expect(history.limit(assignments: 2048) > 0.4)
    }

    @Test("what was never measured is judged by its neighbours, and with none as a slow machine")
    func unmeasured() {
        var history = LatencyHistory()
        #expect(history.limit(assignments: 10) == 4)
        history.add(seconds: 1, assignments: 16)
        #expect(history.limit(assignments: 64) == 3 * 4, "in proportion")
        #expect(history.limit(assignments: 1) == 3, "no less than what a larger one takes")
        #expect(history.limit(assignments: 1_000_000) == 3 * 128, "as the largest")
    }
}
