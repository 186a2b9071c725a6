/// What the coordinator leaves to its workers, and how it guards requests against those that are late or wrong.
public struct DispatchOptions: Sendable, Equatable {
    /// When rows that a worker still owes are computed a second time, by another that holds their expert or here.
    public enum Hedging: Sendable, Equatable {
        case never
        /// Once they take longer than nearly all of that worker's answers have.
        case automatic
        case after(Duration)
    }

    /// Whatever it is, what is computed twice stays a small part of what is computed.
    public var hedging: Hedging

    /// The part of the rows that workers return, from 0 to 1, which the coordinator computes too and compares bit by bit.
    /// It needs experts of its own for that.
    public var verifyRate: Double

    /// Whether the coordinator computes a share of every batch while it waits for its workers, and not only what none of
    /// them does. It needs experts of its own for that, and memory for all of them.
    public var sharesWork: Bool

    /// Hedges automatically, verifies one row in a thousand, and leaves to workers what they can do.
    public init(hedging: Hedging = .automatic, verifyRate: Double = 0.001, sharesWork: Bool = false) {
        self.hedging = hedging
        self.verifyRate = verifyRate
        self.sharesWork = sharesWork
    }
}
