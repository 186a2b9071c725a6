import Checkpoints
import Cluster
import Foundation
import Transformer

/// The experts for a command that ends by itself: in this process, or in `--workers N` processes on this machine.
final class LocalCluster {
    static let flag = Flag("workers", "N", "Worker processes to start on this machine (default 0).")

    let experts: any ExpertExecutor
    private let coordinator: Coordinator?
    private let workers: WorkerProcesses?

    init(_ model: ModelOptions, _ checkpoint: Checkpoint, workers count: Int, log: Log) async throws {
        guard count > 0 else {
            experts = try LocalExperts(checkpoint, precision: model.precision, threads: model.threads)
            (coordinator, workers) = (nil, nil)
            return
        }
        let coordinator = try Coordinator(
            checkpoint: checkpoint, precision: model.precision, bind: "tcp://127.0.0.1:*",
            localExperts: LocalExperts(checkpoint, precision: model.precision, threads: model.threads),
            log: log)
        let starting = Task { try await coordinator.waitUntilReady(workers: count) }
        let workers = try WorkerProcesses(
            count: count, model: model.directory, endpoint: coordinator.endpoint.description, log: log,
            logFlags: ["--log-level", "warning"], onUnexpectedEnd: { starting.cancel() })
        self.workers = workers
        self.coordinator = coordinator
        experts = coordinator.executor
        do { try await starting.value } catch is CancellationError {
            workers.stop()
            throw Failure("a worker ended before it was ready; it said why above")
        }
    }

    func stop() {
        workers?.stop()
        coordinator?.shutdown()
    }
}
