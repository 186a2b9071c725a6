/// How many assignments may be computed a second time: a small part of those that are sent, so that a cluster that is
/// slow as a whole is not made slower.
package struct HedgeBudget: Sendable {
    /// One of so many.
    package static let share = 20
    /// Saved up at most: some of the largest requests.
    package static let most = 4 * DataMessage.maximumAssignments

    /// In assignments, times `share`. There is something to begin with, for a worker may hang at once.
    private var saved = 256 * Self.share

    package init() {}

    package mutating func earn(_ assignments: Int) { saved = min(saved + assignments, Self.most * Self.share) }

    /// False, and nothing is spent, where there is not enough.
    package mutating func spend(_ assignments: Int) -> Bool {
        guard assignments * Self.share <= saved else { return false }
        saved -= assignments * Self.share
        return true
    }
}
