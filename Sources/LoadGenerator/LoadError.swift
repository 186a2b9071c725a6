/// Why a measurement cannot be made.
public struct LoadError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was found, what was expected and, where there is one, the remedy.
    public let description: String

    /// Carries the message.
    package init(_ description: String) {
        self.description = description
    }
}
