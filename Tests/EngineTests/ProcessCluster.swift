import Checkpoints
import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// A coordinator with experts of its own, and workers in processes of their own.
final class ProcessCluster {
    let coordinator: Coordinator
    private let checkpoint: Checkpoint
    private var workers: [Process] = []

    init(_ checkpoint: Checkpoint, _ precision: Precision) throws {
        self.checkpoint = checkpoint
        coordinator = try Coordinator(
            checkpoint: checkpoint, precision: precision, bind: "tcp://127.0.0.1:0",
            localExperts: LocalExperts(checkpoint, precision: precision, threads: 1), log: .silent)
    }

    deinit {
        for worker in workers { kill(worker.processIdentifier, SIGKILL) }
        coordinator.shutdown()
    }

    /// Whether workers that are there have computed.
    var hasComputed: Bool { coordinator.status.workers.contains { $0.rows > 0 } }

    /// Adds workers, each with memory for some of the experts or all, and returns when they serve.
    func addWorkers(_ count: Int, using generator: inout SeededGenerator) async throws {
        for _ in 0..<count {
            let worker = Process()
            // The command lies beside the tests.
            worker.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
                .deletingLastPathComponent().appending(path: "shoal")
            worker.arguments = [
                "worker", "--join", "\(coordinator.endpoint)", "--model", checkpoint.directory.path, "--threads", "1",
                "--memory", "\(Int.random(in: 32_768...checkpoint.byteCount / 4, using: &generator))",
                "--log-level", "error", "--until-stdin-closes",
            ]
            worker.standardInput = Pipe()
            try worker.run()
            workers.append(worker)
        }
        try await coordinator.waitUntilReady(workers: workers.count)
    }

    /// Ends a worker without notice, or asks it to leave, and returns when the coordinator knows.
    func removeWorker(using generator: inout SeededGenerator) async throws {
        let worker = workers.remove(at: .random(in: 0..<workers.count, using: &generator))
        kill(worker.processIdentifier, Bool.random(using: &generator) ? SIGKILL : SIGTERM)
        try await eventually { coordinator.status.workers.count == workers.count }
    }
}
