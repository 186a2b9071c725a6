/// How the coordinator guards requests against workers that are late.
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

    /// Hedges automatically.
    public init(hedging: Hedging = .automatic) {
        self.hedging = hedging
    }
}
