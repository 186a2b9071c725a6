import LoadGenerator
import Testing

@Suite("Statistics")
struct StatisticTests {
    @Test("a percentile is the measurement of the nearest rank, exactly")
    func nearestRank() throws {
        let hundred = try #require(Statistic((1...100).map(Double.init).shuffled()))
        #expect(hundred.p50 == 50 && hundred.p90 == 90 && hundred.p99 == 99 && hundred.max == 100)
        #expect(hundred.mean == 50.5 && hundred.count == 100)
        let ten = try #require(Statistic((1...10).map(Double.init)))
        #expect(ten.p50 == 5 && ten.p90 == 9 && ten.p99 == 10)
        let one = try #require(Statistic([7]))
        #expect(one.p50 == 7 && one.p99 == 7 && one.mean == 7)
        #expect(Statistic([]) == nil)
    }
}
