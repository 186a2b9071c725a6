import Cluster

/// How a coordinator guards requests against workers that fail them.
enum DispatchFlags {
    static let hedge = Flag(
        "hedge", "MS",
        "Milliseconds after which rows that a worker owes are computed elsewhere too (default auto: later than nearly "
            + "all of its answers came; 0: never).")

    static let verifyRate = Flag(
        "verify-rate", "R", "Part of the workers' rows to compute here too and compare, 0 to 1 (default 0.001).")

    static func options(_ arguments: Arguments) throws(UsageError) -> DispatchOptions {
        var options = DispatchOptions()
        options.verifyRate = try arguments.number("verify-rate", in: 0...1) ?? options.verifyRate
        if let milliseconds = try arguments.number("hedge", in: 0...1e6, hasAuto: true) {
            options.hedging = milliseconds == 0 ? .never : .after(.milliseconds(milliseconds))
        }
        return options
    }
}
