/// One sequence's page tables: for each block of ``KVLayout/pageTokens`` positions, the page of the pool that holds it.
public struct KVPages: Sendable, Equatable {
    /// A block that is not held, such as one of the sliding layers behind the window. It is never touched.
    public static let none = UInt32.max

    /// Pages of the layers that attend to every position; empty where a model has none.
    public var full: [UInt32]
    /// Pages of the sliding layers; empty where a model has none.
    public var sliding: [UInt32]

    /// Tables for a segment.
    public init(full: [UInt32] = [], sliding: [UInt32] = []) {
        self.full = full
        self.sliding = sliding
    }
}
