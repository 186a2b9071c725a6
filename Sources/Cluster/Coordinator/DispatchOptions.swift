/// How the coordinator guards requests against workers that are late or wrong.
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

    /// Hedges automatically, and verifies one row in a thousand.
    public init(hedging: Hedging = .automatic, verifyRate: Double = 0.001) {
        self.hedging = hedging
        self.verifyRate = verifyRate
    }
}
