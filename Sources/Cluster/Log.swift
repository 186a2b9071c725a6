/// Where the cluster says what happens. The program decides how it looks.
public struct Log: Sendable {
    /// How much a line matters.
    public enum Level: String, Sendable, CaseIterable { case debug, info, warning, error }

    /// Named values beside the message.
    public typealias Fields = [(name: String, value: String)]

    private let write: @Sendable (Level, String, Fields) -> Void

    /// `write` is called from several threads.
    public init(_ write: @escaping @Sendable (Level, String, Fields) -> Void) { self.write = write }

    /// Says nothing.
    public static let silent = Log { _, _, _ in }

    /// Says one line.
    public func callAsFunction(_ level: Level, _ message: String, _ fields: Fields = []) {
        write(level, message, fields)
    }
}
