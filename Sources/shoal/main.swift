import Foundation

// A peer that closes its end must not end this process.
signal(SIGPIPE, SIG_IGN)

let commands: [any Command.Type] = [
    Up.self, Serve.self, WorkerCommand.self, Generate.self, Score.self, Inspect.self, Synthesize.self, Status.self,
    Bench.self, Keygen.self,
]
exit(await runCommandLine(Array(CommandLine.arguments.dropFirst()), commands: commands))
