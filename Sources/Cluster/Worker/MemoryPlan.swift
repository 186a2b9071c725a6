/// How the coordinators of a worker share its memory: a pure value.
///
/// An expert that several of them want is there once, and coordinators that see the same workers mostly share the experts
/// out alike. So each is told all of the memory. When that turns out to be too much, because they want different
/// experts, each is told an equal part from then on, which is safe whatever they want.
package struct MemoryPlan: Sendable {
    /// What one coordinator has this worker hold.
    private struct Holding {
        /// Whose experts: those of one stock are in memory once.
        let stock: ObjectIdentifier
        let expertBytes: Int
        var newest: ExpertSet
        /// Of earlier epochs, until they are in force no more.
        var earlier: [ExpertSet]
        /// Whether the coordinator that wanted it is still joined.
        var isCurrent = true
    }

    /// Bytes of experts, of all coordinators together.
    package let limit: UInt64
    private let coordinators: Int
    /// By coordinator: what it was told, as long as it is joined.
    private var told: [Int: UInt64] = [:]
    private var holdings: [Int: Holding] = [:]
    /// Whether each is told but its part.
    package private(set) var isDivided = false

    package init(limit: UInt64, coordinators: Int) {
        self.limit = limit
        self.coordinators = coordinators
    }

    private var part: UInt64 { isDivided ? limit / UInt64(coordinators) : limit }

    /// What a coordinator that is about to be joined is told; nil as long as another has more than its part.
    package mutating func join(_ coordinator: Int) -> UInt64? {
        guard told.allSatisfy({ $0.key == coordinator || $0.value <= part }) else { return nil }
        told[coordinator] = part
        return part
    }

    /// Whether a coordinator was told of more than its part, and so is to be left and joined anew.
    package func hasTooMuch(_ coordinator: Int) -> Bool { told[coordinator].map { $0 > part } ?? false }

    /// A coordinator is joined no more. What it wanted stays as long as there is room: it may come back.
    package mutating func leave(_ coordinator: Int) {
        told[coordinator] = nil
        holdings[coordinator]?.isCurrent = false
    }

    /// What a coordinator wanted is of no use any more.
    package mutating func forget(_ coordinator: Int) { holdings[coordinator] = nil }

    /// A coordinator wants experts, and is to keep those of earlier epochs meanwhile.
    /// - Returns: whether they fit beside what the others want. If not, the memory is divided from now on.
    package mutating func take(
        _ experts: ExpertSet, keeping earlier: [ExpertSet], of stock: ObjectIdentifier, expertBytes: Int,
        by coordinator: Int
    ) -> Bool {
        var next = holdings
        next[coordinator] = Holding(stock: stock, expertBytes: expertBytes, newest: experts, earlier: earlier)
        if Self.bytes(next) > limit { next = next.filter(\.value.isCurrent) }
        guard Self.bytes(next) <= limit else {
            isDivided = true
            return false
        }
        holdings = next
        return true
    }

    /// Of what is kept for epochs before the newest only this is kept on, unless there is a newer one by now.
    /// - Returns: whether anything is not.
    package mutating func release(
        allBut experts: ExpertSet, keeping earlier: [ExpertSet] = [], by coordinator: Int
    ) -> Bool {
        guard let holding = holdings[coordinator], holding.newest == experts else { return false }
        let kept = holding.earlier.filter(earlier.contains)
        holdings[coordinator]?.earlier = kept
        return kept.count < holding.earlier.count
    }

    /// All that is to be kept of a stock; nil for nothing.
    package func needed(of stock: ObjectIdentifier) -> ExpertSet? {
        Self.union(holdings.values.filter { $0.stock == stock }.flatMap { [$0.newest] + $0.earlier })
    }

    /// Of the newest placements: what earlier ones need besides lasts for moments.
    private static func bytes(_ holdings: [Int: Holding]) -> UInt64 {
        Dictionary(grouping: holdings.values, by: \.stock).values.reduce(0) { sum, alike in
            let count = union(alike.map(\.newest))?.count ?? 0
            let (total, isBeyond) = sum.addingReportingOverflow(UInt64(count * (alike.first?.expertBytes ?? 0)))
            return isBeyond ? .max : total
        }
    }

    private static func union(_ sets: [ExpertSet]) -> ExpertSet? {
        sets.first.map { sets.dropFirst().reduce(into: $0) { $0.formUnion($1) } }
    }
}
