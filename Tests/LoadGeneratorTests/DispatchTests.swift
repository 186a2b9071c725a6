import LoadGenerator
import Testing

@Suite("When requests are sent")
struct DispatchTests {
    @Test("a closed loop keeps its clients busy until all is sent")
    func closedLoop() {
        var dispatch = Dispatch(Load(arrivals: .concurrency(2), extent: .requests(3)), seed: 1)
        #expect(dispatch.next(at: 0, active: 0)?.is(0, 0) == true)
        #expect(dispatch.next(at: 0.1, active: 1)?.is(1, 0.1) == true)
        #expect(dispatch.next(at: 0.2, active: 2) == nil && dispatch.earliest(active: 2) == .infinity)
        #expect(dispatch.next(at: 5, active: 1)?.is(2, 5) == true)
        #expect(dispatch.isOver(at: 5) && dispatch.next(at: 6, active: 0) == nil)
    }

    @Test("a client whose request failed waits; the others do not")
    func pauses() throws {
        var dispatch = Dispatch(Load(arrivals: .concurrency(2), extent: .requests(10)), seed: 1)
        _ = dispatch.next(at: 0, active: 0)
        _ = dispatch.next(at: 0, active: 1)
        dispatch.failed(at: 1)
        #expect(dispatch.next(at: 1, active: 1) == nil)
        #expect(dispatch.next(at: 1.01, active: 0) != nil)
        #expect(dispatch.earliest(active: 1) == 1.1)
        #expect(dispatch.next(at: 1.11, active: 1) != nil)
    }

    @Test("an open loop sends at the arrivals, however late its turn, and waits above the limit")
    func openLoop() throws {
        let load = Load(arrivals: .rate(10, atMost: 2), extent: .requests(100))
        var dispatch = Dispatch(load, seed: 1)
        var arrivals = PoissonArrivals(rate: 10, seed: 1)
        let times = (0..<4).compactMap { _ in arrivals.next() }
        #expect(dispatch.next(at: times[0] - 0.001, active: 0) == nil)
        #expect(dispatch.earliest(active: 0) == times[0])
        #expect(dispatch.next(at: times[0], active: 0)?.is(0, times[0]) == true)
        #expect(dispatch.next(at: 50, active: 2) == nil)
        #expect(dispatch.next(at: 60, active: 1)?.is(1, times[1]) == true, "timed from its arrival")
    }

    @Test("a duration ends the sending; what arrived in time is still sent")
    func durations() {
        var closed = Dispatch(Load(arrivals: .concurrency(1), extent: .seconds(2)), seed: 1)
        #expect(closed.next(at: 1.9, active: 0) != nil && closed.next(at: 2, active: 0) == nil && closed.isOver(at: 2))
        var open = Dispatch(Load(arrivals: .rate(100, atMost: 1), extent: .seconds(2)), seed: 1)
        var count = 0
        while open.next(at: 1000, active: 0) != nil { count += 1 }
        #expect((150...250).contains(count) && open.isOver(at: 0))
    }
}

extension Dispatch.Turn {
    fileprivate func `is`(_ index: Int, _ scheduled: Double) -> Bool {
        self.index == index && self.scheduled == scheduled
    }
}
