import Checkpoints
import Cluster
import Dispatch
import Engine
import Foundation

enum WorkerCommand: Command {
    static let name = "worker"
    static let summary = "Compute experts for one coordinator or several."
    static let discussion = """
        Joins the coordinator at ENDPOINT, before or after it starts, and again whenever it comes back. With --model the
        worker reads its experts from its own copy of the checkpoint, which must be the coordinator's to the byte. Without,
        the coordinator sends it the experts that it is to have, each checked by its digest, and no others; --cache keeps
        them for the next start. Between machines, both have keys: --key and --coordinator-key (`shoal keygen`).

        Several coordinators, as --join A,B, share the worker: none notices what becomes of the others, and an expert that
        several want is in memory once.
        """
    static let flags =
        [
            Flag(
                "join", "ENDPOINT",
                "The coordinator's cluster endpoint, such as tcp://127.0.0.1:7070; several with commas between them."),
            ModelOptions.modelFlag, ModelOptions.threadsFlag, ModelOptions.pinFlag,
            Flag(
                "memory", "SIZE",
                "Hold no more experts than fit, replicas included, such as 8G (default: what the machine can spare)."),
            Flag("cache", "DIR", "Without --model: keep the experts in DIR/experts for the next start."),
            Flag("cache-size", "SIZE", "Keep no more than fit, those used last (default: no limit)."),
            Flag("until-stdin-closes", nil, "End when standard input closes, as `shoal up` wants of its workers."),
        ] + KeyFlags.worker + Logging.flags

    static func run(_ arguments: Arguments) async throws {
        let log = try Logging.make(arguments)
        EndRequest.watch()
        let worker = try makeWorker(arguments, log)
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

    private static func makeWorker(_ arguments: Arguments, _ log: Log) throws -> Worker {
        let threads = try ModelOptions.threads(arguments)
        let coordinators = try KeyFlags.coordinators(arguments)
        let memory = try arguments.bytes("memory") ?? KVMemory.spare(mapped: 0)
        if let model = arguments.string("model") {
            for flag in ["cache", "cache-size"] where arguments.wasTyped(flag) {
                throw UsageError("--\(flag) is for workers without --model, which fetch their experts")
            }
            let checkpoint = try Checkpoint(directory: URL(fileURLWithPath: model))
            return try Worker(
                checkpoint: checkpoint, coordinators: coordinators, threads: threads, memory: memory, log: log)
        }
        let cache = arguments.string("cache")
        let cacheLimit = try arguments.bytes("cache-size")
        guard cacheLimit == nil || cache != nil else { throw UsageError("--cache-size needs --cache") }
        let loading = Progress("loading experts", log: log)
        return try Worker(
            coordinators: coordinators, threads: threads, memory: memory,
            cache: cache.map {
                try WeightCache(
                    directory: URL(fileURLWithPath: $0).appending(path: "experts"), limit: cacheLimit, log: log)
            }, log: log, progress: { loading.show(Double($0) / Double(max(1, $1))) })
    }
}
