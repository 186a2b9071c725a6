import Checkpoints
import Cluster
import Dispatch
import Foundation

enum WorkerCommand: Command {
    static let name = "worker"
    static let summary = "Compute experts for a coordinator."
    static let discussion = """
        Joins the coordinator at ENDPOINT, before or after it starts, and again whenever it comes back. The worker reads
        its experts from its own copy of the checkpoint, which must be the coordinator's to the byte. Between machines, both
        have keys: --key and --coordinator-key (`shoal keygen`).
        """
    static let flags =
        [
            Flag("join", "ENDPOINT", "The coordinator's cluster endpoint, such as tcp://127.0.0.1:7070."),
            ModelOptions.modelFlag, ModelOptions.threadsFlag,
            Flag("memory", "SIZE", "Own no more experts than fit, such as 8G (default: no limit)."),
            Flag("until-stdin-closes", nil, "End when standard input closes, as `shoal up` wants of its workers."),
        ] + KeyFlags.worker + Logging.flags

    static func run(_ arguments: Arguments) async throws {
        let endpoint = try arguments.required("join")
        let directory = URL(fileURLWithPath: try arguments.required("model"))
        let threads = try ModelOptions.threads(arguments)
        let protection = try KeyFlags.worker(arguments)
        let memory = try arguments.bytes("memory")
        let log = try Logging.make(arguments)
        EndRequest.watch()
        let worker = try Worker(
            checkpoint: Checkpoint(directory: directory), join: endpoint, protection: protection, threads: threads,
            memory: memory, log: log)
        Task.detached {
            await EndRequest.wait()
            worker.stop()
        }
        if arguments.has("until-stdin-closes") {
            Thread.detachNewThread {
                _ = try? FileHandle.standardInput.readToEnd()
                worker.stop()
            }
        }
        // It blocks for as long as it serves, so not on a thread that tasks share.
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try worker.run() }) }
        }
    }
}
