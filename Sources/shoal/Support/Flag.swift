/// A flag of a command. Each is also an environment variable: `--max-tokens` is `SHOAL_MAX_TOKENS`.
struct Flag {
    let name: String
    /// What stands for its value in the help; nil for a switch.
    let value: String?
    let help: String

    init(_ name: String, _ value: String?, _ help: String) {
        self.name = name
        self.value = value
        self.help = help
    }

    var environmentName: String { "SHOAL_" + name.uppercased().replacing("-", with: "_") }
}

/// What was typed makes no sense: exit code 2.
struct UsageError: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// What was asked cannot be done: exit code 1.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
