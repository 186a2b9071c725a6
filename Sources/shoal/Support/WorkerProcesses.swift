import Cluster
import Dispatch
import Foundation
import Synchronization

/// Workers on this machine, as processes of their own. Each holds the reading end of a pipe and ends when the other end
/// is closed, so they end with this process, however it ends.
final class WorkerProcesses: Sendable {
    private struct State {
        var processes: [Process] = []
        var pipes: [Pipe] = []
        var isStopping = false
    }

    private let state = Mutex(State())
    private let running = DispatchGroup()
    private let log: Log
    private let onUnexpectedEnd: @Sendable () -> Void

    /// Starts `count` workers that join `endpoint`; they share this machine's processors.
    init(
        count: Int, model: URL, endpoint: String, log: Log, logFlags: [String],
        onUnexpectedEnd: @escaping @Sendable () -> Void = {}
    ) throws {
        self.log = log
        self.onUnexpectedEnd = onUnexpectedEnd
        guard let program = Bundle.main.executableURL else { throw Failure("cannot tell where this program lies") }
        let threads = max(1, ProcessInfo.processInfo.activeProcessorCount / max(1, count))
        for _ in 0..<count {
            let (process, pipe) = (Process(), Pipe())
            process.executableURL = program
            process.arguments =
                [
                    "worker", "--join", endpoint, "--model", model.path, "--threads", String(threads),
                    "--until-stdin-closes",
                ] + logFlags
            // Pinned, each would take the same processors; and keys are between machines.
            let notTheirs = ["SHOAL_PIN", "SHOAL_KEY", "SHOAL_COORDINATOR_KEY", "SHOAL_INSECURE"]
            process.environment = ProcessInfo.processInfo.environment.filter { !notTheirs.contains($0.key) }
            process.standardInput = pipe
            process.terminationHandler = { [weak self, running] process in
                self?.ended(process)
                running.leave()
            }
            running.enter()
            do { try process.run() } catch {
                running.leave()
                stop()
                throw error
            }
            state.withLock {
                $0.processes.append(process)
                $0.pipes.append(pipe)
            }
        }
    }

    private func ended(_ process: Process) {
        guard !state.withLock({ $0.isStopping }) else { return }
        log(
            .warning, "a worker ended; the coordinator computes its experts",
            [("process", "\(process.processIdentifier)"), ("status", "\(process.terminationStatus)")])
        onUnexpectedEnd()
    }

    /// Ends the workers, by force those that take more than ten seconds, and returns when they have ended.
    func stop() {
        let processes = state.withLock { state in
            state.isStopping = true
            for pipe in state.pipes { try? pipe.fileHandleForWriting.close() }
            state.pipes = []
            return state.processes
        }
        guard running.wait(timeout: .now() + 10) == .timedOut else { return }
        for process in processes where process.isRunning { kill(process.processIdentifier, SIGKILL) }
        running.wait()
    }
}
