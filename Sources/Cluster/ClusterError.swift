/// The cluster cannot do what was asked: names the thing, what was found, what was expected, and the remedy.
public struct ClusterError: Error, Sendable, CustomStringConvertible {
    /// For people.
    public let description: String

    init(_ description: String) { self.description = description }
}
