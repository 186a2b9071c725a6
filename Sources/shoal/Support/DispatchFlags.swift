import Cluster

/// How a coordinator guards requests against workers that fail them.
enum DispatchFlags {
    static let hedge = Flag(
        "hedge", "MS",
        "Milliseconds after which rows that a worker owes are computed elsewhere too (default auto: later than nearly "
            + "all of its answers came; 0: never).")

    static func options(_ arguments: Arguments) throws(UsageError) -> DispatchOptions {
        var options = DispatchOptions()
        guard arguments.string("hedge") != "auto" else { return options }
        if let milliseconds = try arguments.number("hedge", in: 0...1e6) {
            options.hedging = milliseconds == 0 ? .never : .after(.milliseconds(milliseconds))
        }
        return options
    }
}
