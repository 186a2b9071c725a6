import Foundation

/// One subcommand.
protocol Command {
    static var name: String { get }
    /// One line for the list of commands.
    static var summary: String { get }
    /// What it does, in a few lines, for its own help.
    static var discussion: String { get }
    static var flags: [Flag] { get }
    /// Names of what it takes besides flags.
    static var operands: [String] { get }
    static func run(_ arguments: Arguments) async throws
}

extension Command {
    static var operands: [String] { [] }

    private static var flagsHeading: String {
        "Flags (each is also an environment variable: --threads is SHOAL_THREADS)"
    }

    static var help: String {
        let heads = flags.map { flag in "  --" + flag.name + (flag.value.map { " " + $0 } ?? "") }
        let width = min(34, (heads.map(\.count).max() ?? 0) + 2)
        let lines = zip(flags, heads).map { flag, head in
            head.count + 1 >= width
                ? head + "\n" + String(repeating: " ", count: width) + flag.help
                : head.padding(toLength: width, withPad: " ", startingAt: 0) + flag.help
        }
        return """
            \(summary)

            Usage: shoal \(([name] + operands + (flags.isEmpty ? [] : ["[flags]"])).joined(separator: " "))

            \(discussion)
            """ + (lines.isEmpty ? "" : "\n\n" + flagsHeading + "\n" + lines.joined(separator: "\n"))
    }
}

/// Runs what the command line asks for and gives the exit code: 0, 1 for a failure, 2 for a usage error.
func runCommandLine(_ words: [String], commands: [any Command.Type]) async -> Int32 {
    let overview =
        "Shoal serves OpenAI's gpt-oss models: a coordinator runs attention, workers run the experts.\n\n"
        + "Usage: shoal COMMAND [flags]\n\nCommands\n"
        + commands.map { "  " + $0.name.padding(toLength: 12, withPad: " ", startingAt: 0) + $0.summary }
        .joined(separator: "\n") + "\n\n`shoal COMMAND --help` tells more of one."
    let words = words.first == "help" && words.count > 1 ? [words[1], "--help"] : words
    guard let name = words.first else {
        printError(overview)
        return 2
    }
    if ["--help", "-h", "help"].contains(name) { return answer(overview) }
    if ["--version", "version"].contains(name) { return answer("shoal \(shoalVersion)") }
    guard let command = commands.first(where: { $0.name == name }) else {
        printError("shoal: unknown command '\(name)'" + suggestion(for: name, among: commands.map { $0.name }))
        printError("`shoal --help` lists the commands.")
        return 2
    }
    if words.dropFirst().contains(where: { ["--help", "-h"].contains($0) }) { return answer(command.help) }
    do {
        let arguments = try Arguments(
            Array(words.dropFirst()), flags: command.flags, operands: command.operands.count,
            environment: ProcessInfo.processInfo.environment)
        try await command.run(arguments)
        return 0
    } catch let error as UsageError {
        printError("shoal \(name): \(error.message)")
        printError("`shoal \(name) --help` tells what it takes.")
        return 2
    } catch {
        printError("shoal \(name): \(error)")
        return 1
    }
}

/// Prints what was asked for and gives the exit code.
private func answer(_ text: String) -> Int32 {
    do { try printOutput(text) } catch {
        printError("shoal: \(error)")
        return 1
    }
    return 0
}

/// The version that the command and the API name.
let shoalVersion = "0.1.0"
