import Cluster
import Testing

@Suite struct SpeedometerTests {
    @Test("speed is work over time, known after a few samples, and one that stops for a moment is not slower")
    func median() {
        var speedometer = Speedometer()
        var totals = ComputeTotals(work: 1000, nanoseconds: 900_000_000)
        speedometer.read(totals)
        for sample in 0..<20 {
            #expect((speedometer.speed != nil) == (sample >= 5))
            totals.work += 3000
            // Every fourth takes ten times as long.
            totals.nanoseconds += sample % 4 == 3 ? 1_000_000_000 : 100_000_000
            speedometer.read(totals)
        }
        #expect(speedometer.speed == 30_000)
    }

    @Test("reports of little work are added up; nonsense is not believed")
    func edges() {
        var speedometer = Speedometer()
        for step in 0...200 as ClosedRange<UInt64> {
            speedometer.read(ComputeTotals(work: step * 10, nanoseconds: step * 1_000_000))
        }
        #expect(speedometer.speed == 10_000)
        speedometer.read(ComputeTotals())
        speedometer.read(ComputeTotals(work: .max, nanoseconds: .max))
        speedometer.read(ComputeTotals(work: 5, nanoseconds: 5))
        #expect(speedometer.speed == 10_000)
        for step in 1...30 as ClosedRange<UInt64> {
            speedometer.read(ComputeTotals(work: step << 58, nanoseconds: step * 100_000_000))
        }
        #expect(speedometer.speed == 1_000_000_000)
    }
}
