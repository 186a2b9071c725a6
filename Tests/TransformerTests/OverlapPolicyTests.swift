import TestSupport
import Testing
import Transformer

/// The policy against machines whose step times are known.
@Suite struct OverlapPolicyTests {
    /// Runs `steps` steps of a kind, and returns how many were split.
    private func run(
        _ policy: inout OverlapPolicy, steps: Int, rows: Int = 8, isDecode: Bool = true, placement: UInt64 = 1,
        seconds: (_ isSplit: Bool) -> Double
    ) -> Int {
        (0..<steps).count { _ in
            let plan = policy.plan(rows: rows, isDecode: isDecode, placement: placement)
            policy.record(plan, duration: .seconds(seconds(plan.isSplit)))
            return plan.isSplit
        }
    }

    @Test("it learns in a handful of steps, and tries the slower way once in a while", arguments: [true, false])
    func converges(isSplitFaster: Bool) {
        var policy = OverlapPolicy()
        let seconds = { (isSplit: Bool) in isSplit == isSplitFaster ? 0.2 : 0.25 }
        let learning = run(&policy, steps: 2 * OverlapPolicy.trials, seconds: seconds)
        #expect(learning == OverlapPolicy.trials, "both ways alike")
        let split = run(&policy, steps: 330, seconds: seconds)
        #expect((isSplitFaster ? 330 - split : split) == 10)
    }

    @Test("noise and steps that take ten times as long do not mislead it for long")
    func noise() {
        var policy = OverlapPolicy()
        var random = SeededGenerator(seed: 1)
        let split = run(&policy, steps: 1000) { isSplit in
            let disturbance =
                Int.random(in: 0..<20, using: &random) == 0 ? 10 : Double.random(in: 1...1.05, using: &random)
            return (isSplit ? 0.2 : 0.25) * disturbance
        }
        #expect(split > 850)
    }

    @Test("what noise alone makes seem faster is not split", arguments: 0..<50 as Range<UInt64>)
    func alike(seed: UInt64) {
        var policy = OverlapPolicy()
        var random = SeededGenerator(seed: seed)
        let split = run(&policy, steps: 200) { isSplit in
            (isSplit ? 0.2 : 0.199) * Double.random(in: 1...1.03, using: &random)
        }
        #expect(split <= OverlapPolicy.trials + 200 / OverlapPolicy.retryInterval)
    }

    @Test("it follows a network that becomes slow, and one that becomes fast again")
    func adapts() {
        var policy = OverlapPolicy()
        let fast = { (isSplit: Bool) in isSplit ? 0.25 : 0.2 }
        let slow = { (isSplit: Bool) in isSplit ? 0.26 : 0.3 }
        for _ in 0..<3 {
            _ = run(&policy, steps: 100, seconds: fast)
            #expect(run(&policy, steps: 100, seconds: fast) <= 4)
            _ = run(&policy, steps: 100, seconds: slow)
            #expect(run(&policy, steps: 100, seconds: slow) >= 96)
        }
    }

    @Test("a new placement is measured anew; the kinds of step do not mix")
    func kinds() {
        var policy = OverlapPolicy()
        _ = run(&policy, steps: 40) { $0 ? 0.25 : 0.2 }
        _ = run(&policy, steps: 40, isDecode: false) { $0 ? 0.2 : 0.25 }
        _ = run(&policy, steps: 40, rows: 9) { $0 ? 0.2 : 0.25 }
        #expect(run(&policy, steps: 20) { $0 ? 0.25 : 0.2 } <= 1)
        #expect(run(&policy, steps: 20, isDecode: false) { $0 ? 0.2 : 0.25 } >= 19)
        #expect(run(&policy, steps: 20, rows: 9) { $0 ? 0.2 : 0.25 } >= 19)

        _ = run(&policy, steps: 2 * OverlapPolicy.trials, placement: 2) { $0 ? 0.2 : 0.25 }
        #expect(run(&policy, steps: 20, placement: 2) { $0 ? 0.2 : 0.25 } == 20)
    }

    @Test("chunks of nearly the same size are one kind; any number of rows has one")
    func sizes() {
        var policy = OverlapPolicy()
        for rows in 256..<262 { _ = run(&policy, steps: 1, rows: rows, isDecode: false) { $0 ? 1 : 2 } }
        #expect(run(&policy, steps: 20, rows: 270, isDecode: false) { $0 ? 1 : 2 } == 20)
        for rows in [2, 31, 32, 33, 63, 64, 1 << 20, Int.max] { _ = run(&policy, steps: 1, rows: rows) { _ in 1 } }
    }

    @Test("the same durations give the same decisions")
    func determinism() {
        let durations = (0..<500).map { 0.2 + Double(($0 * 7919) % 100) / 1000 }
        let runs = (0..<2).map { _ in
            var policy = OverlapPolicy()
            return durations.map { seconds in run(&policy, steps: 1) { _ in seconds } }
        }
        #expect(runs[0] == runs[1])
    }
}
