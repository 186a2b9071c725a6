import Cluster
import Testing

@Suite struct HoldOffTests {
    private let start = ContinuousClock.now

    private func seconds(_ holdOffs: HoldOffs, _ who: String, at now: ContinuousClock.Instant) -> Double {
        (holdOffs.entry(for: who, at: now)?.until).map { now.duration(to: $0) / .seconds(1) } ?? 0
    }

    @Test("the first death costs nothing, the next 1, 2, 4 … seconds, up to a minute")
    func growing() {
        var holdOffs = HoldOffs()
        var now = start
        for expected in [0, 1, 2, 4, 8, 16, 32, 64, 64, 64] as [Double] {
            now += .seconds(100)
            holdOffs.died("a", joined: now - .seconds(1), at: now)
            #expect(seconds(holdOffs, "a", at: now) == expected)
            #expect(seconds(holdOffs, "b", at: now) == 0)
        }
        holdOffs.served("a", at: now)
        holdOffs.died("a", joined: now, at: now + .seconds(1))
        #expect(seconds(holdOffs, "a", at: now + .seconds(1)) == 0, "forgotten after it has served")
    }

    @Test("workers that die together are one death")
    func together() {
        var holdOffs = HoldOffs()
        for _ in 0..<8 { holdOffs.died("a", joined: start, at: start + .seconds(1)) }
        #expect(holdOffs.entries["a"]?.deaths == 1)
        holdOffs.died("a", joined: start + .seconds(1), at: start + .seconds(2))
        #expect(holdOffs.entries["a"]?.deaths == 2)
    }

    @Test("who was sent away stays away, whatever it does meanwhile, and is then like others")
    func banished() {
        var holdOffs = HoldOffs()
        holdOffs.banish("a", for: .seconds(600), at: start)
        holdOffs.died("a", joined: start + .seconds(1), at: start + .seconds(2))
        holdOffs.served("a", at: start + .seconds(3))
        #expect(holdOffs.entry(for: "a", at: start + .seconds(599))?.isBanished == true)
        #expect(holdOffs.entry(for: "a", at: start + .seconds(600)) == nil)
        holdOffs.died("a", joined: start + .seconds(601), at: start + .seconds(602))
        #expect(holdOffs.entry(for: "a", at: start + .seconds(602))?.isBanished == false)
    }

    @Test("no crowd makes it grow without end")
    func bounded() {
        var holdOffs = HoldOffs()
        for index in 0..<5000 { holdOffs.died("\(index)", joined: start, at: start + .milliseconds(index)) }
        #expect(holdOffs.entries.count == 1024 && holdOffs.entries["4999"] != nil)
    }
}
