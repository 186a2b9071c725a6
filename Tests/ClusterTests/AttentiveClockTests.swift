import Cluster
import Testing

@Suite struct AttentiveClockTests {
    @Test("time in which nobody listened does not pass, but for the longest that one look may take")
    func pause() {
        let start = ContinuousClock.now
        var clock = AttentiveClock(at: start)
        func passed(_ milliseconds: Int, longest: Int = 500) -> Duration {
            start.duration(to: clock.look(at: start + .milliseconds(milliseconds), longest: .milliseconds(longest)))
        }
        #expect(passed(100) == .milliseconds(100) && passed(600) == .milliseconds(600))
        #expect(passed(60_600) == .milliseconds(1100), "a minute's pause")
        #expect(passed(60_700) == .milliseconds(1200))
        #expect(passed(61_600, longest: 1000) == .milliseconds(2100))
    }
}
