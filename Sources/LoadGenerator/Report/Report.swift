public import JSON

/// A whole run: its settings, and a level for each load.
public struct Report: Sendable {
    /// Everything that is needed to run it again.
    public let settings: JSONObject
    /// In the order in which they ran; all with a concurrency, or all with a rate.
    public let levels: [LevelReport]

    /// A report of levels under the same settings.
    public init(settings: JSONObject, levels: [LevelReport]) {
        self.settings = settings
        self.levels = levels
    }

    /// What the levels are told apart by.
    package var levelName: String {
        if case .rate = levels.first?.load.arrivals { "rate" } else { "clients" }
    }

    /// Failed requests of all levels.
    public var failedCount: Int { levels.reduce(0) { $0 + $1.failedCount } }
}
