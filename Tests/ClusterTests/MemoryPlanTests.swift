import Cluster
import Testing

/// Who may hold what in a memory of ten experts of ten bytes.
@Suite struct MemoryPlanTests {
    private let first = ObjectIdentifier(Int.self), second = ObjectIdentifier(String.self)

    private func experts(_ range: Range<Int>) -> ExpertSet { Desk.experts(range) }

    /// A plan that can be asked within an expectation.
    private final class Desk {
        var plan: MemoryPlan

        init(joined: Int = 2, limit: UInt64 = 100, of coordinators: Int = 2) {
            plan = MemoryPlan(limit: limit, coordinators: coordinators)
            for coordinator in 0..<joined { #expect(join(coordinator) == limit) }
        }

        static func experts(_ range: Range<Int>) -> ExpertSet {
            let shape = ModelShape(layers: 1, experts: 64, hiddenSize: 1, intermediateSize: 1)
            return range.reduce(into: ExpertSet(shape: shape)) { $0.insert(layer: 0, expert: $1) }
        }

        func join(_ coordinator: Int) -> UInt64? { plan.join(coordinator) }
        func leave(_ coordinator: Int) { plan.leave(coordinator) }
        func take(
            _ range: Range<Int>, keeping earlier: [ExpertSet] = [],
            of stock: ObjectIdentifier = ObjectIdentifier(Int.self),
            bytes: Int = 10, by coordinator: Int
        ) -> Bool {
            plan.take(Self.experts(range), keeping: earlier, of: stock, expertBytes: bytes, by: coordinator)
        }
        func needed(of stock: ObjectIdentifier) -> ExpertSet? { plan.needed(of: stock) }
        func hasTooMuch(_ coordinator: Int) -> Bool { plan.hasTooMuch(coordinator) }
        func release(allBut experts: ExpertSet, keeping earlier: [ExpertSet] = [], by coordinator: Int) -> Bool {
            plan.release(allBut: experts, keeping: earlier, by: coordinator)
        }
    }

    @Test("what several want counts once")
    func union() {
        let plan = Desk()
        #expect(plan.take(0..<8, by: 0) && plan.take(2..<10, by: 1))
        #expect(plan.needed(of: first) == experts(0..<10) && plan.needed(of: second) == nil)
        #expect(!plan.plan.isDivided)
    }

    @Test("experts of different models count twice")
    func models() {
        let plan = Desk()
        #expect(plan.take(0..<5, by: 0) && plan.take(0..<5, of: second, by: 1))
        #expect(plan.needed(of: second) == experts(0..<5))
        #expect(!plan.take(0..<6, of: second, by: 1))
    }

    @Test("what does not fit divides the memory; each is joined anew, for its part, when nobody has more than that")
    func division() {
        let plan = Desk()
        #expect(plan.take(0..<10, by: 0))
        #expect(!plan.take(4..<12, by: 1) && plan.plan.isDivided)
        #expect(plan.hasTooMuch(0) && plan.hasTooMuch(1))
        #expect(plan.needed(of: first) == experts(0..<10), "those of the first stay")
        plan.leave(1)
        #expect(plan.join(1) == nil, "the first has everything still")
        plan.leave(0)
        #expect(plan.join(1) == 50)
        #expect(plan.take(20..<25, by: 1), "of what the first has left nothing is kept")
        #expect(plan.needed(of: first) == experts(20..<25))
        #expect(plan.join(0) == 50 && !plan.hasTooMuch(0) && !plan.hasTooMuch(1))
        #expect(plan.take(0..<5, by: 0))
    }

    @Test("what was wanted stays as long as there is room, for the coordinator may come back")
    func leftOver() {
        let plan = Desk()
        #expect(plan.take(0..<6, by: 0))
        plan.leave(0)
        #expect(plan.take(0..<10, by: 1) && plan.needed(of: first) == experts(0..<10))
        #expect(plan.take(10..<20, by: 1) && plan.needed(of: first) == experts(10..<20))
        #expect(plan.join(0) == 100, "who comes back is told of everything again")
    }

    @Test("a placement is kept beside the next one until its batches are over")
    func earlier() {
        let plan = Desk(joined: 1)
        #expect(plan.take(0..<6, by: 0))
        #expect(plan.take(6..<16, keeping: [experts(0..<6)], by: 0))
        #expect(plan.needed(of: first) == experts(0..<16))
        #expect(!plan.release(allBut: experts(0..<6), by: 0))
        #expect(plan.needed(of: first) == experts(0..<16), "there is a newer one")
        #expect(plan.take(6..<16, keeping: [experts(0..<6), experts(20..<30)], by: 0))
        #expect(plan.release(allBut: experts(6..<16), keeping: [experts(0..<6)], by: 0))
        #expect(plan.needed(of: first) == experts(0..<16), "the one in force stays")
        #expect(!plan.release(allBut: experts(6..<16), keeping: [experts(0..<6), experts(30..<40)], by: 0))
        #expect(plan.needed(of: first) == experts(0..<16), "what has gone does not come back")
        #expect(plan.release(allBut: experts(6..<16), by: 0))
        #expect(plan.needed(of: first) == experts(6..<16))
        plan.plan.forget(0)
        #expect(plan.needed(of: first) == nil)
    }

    @Test("without a limit everything fits")
    func unlimited() {
        let plan = Desk(joined: 3, limit: .max, of: 3)
        #expect(plan.take(0..<1, bytes: .max, by: 0) && plan.take(0..<1, of: second, bytes: .max, by: 1))
        #expect(plan.take(0..<9, of: ObjectIdentifier(Double.self), by: 2))
    }
}
