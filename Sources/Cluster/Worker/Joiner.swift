/// Keeps a worker with one of its coordinators: joins whenever that is there, and again when it comes back.
final class Joiner: Sendable {
    let worker: Worker
    /// Which of the worker's coordinators.
    let index: Int
    let server: ExpertServer

    init(_ worker: Worker, index: Int, _ server: ExpertServer) {
        self.worker = worker
        self.index = index
        self.server = server
    }

    var address: CoordinatorAddress { worker.coordinators[index] }
    var wakeup: Wakeup { worker.wakeups[index] }

    /// How long a coordinator is left alone that has refused this worker, while others have not.
    private static let retreat = Duration.seconds(30)

    /// Returns when the worker is stopped.
    func run() throws {
        var pause = Duration.milliseconds(50)
        let complaints = HandshakeComplaints(address, log: worker.log)
        while !worker.stopping.isSet {
            guard let memory = worker.memory.join(index) else {
                // Others are about to need less of it.
                try wait(.milliseconds(100))
                continue
            }
            let outcome: WorkerSession.Outcome
            do { outcome = try WorkerSession(self, complaints, memory: memory).run() } catch {
                // Whatever a coordinator has brought about, others have nothing to do with it.
                outcome = .refused(ClusterError("\(error)"))
            }
            worker.memory.leave(index)
            switch outcome {
            case .stopped: return
            case .refused(let error):
                complaints.report(error)
                worker.refused(by: index, error)
                pause = Self.retreat
            case .notAdmitted: pause = min(pause * 2, .seconds(2))
            case .lost(let departure, let reason, let wasServing):
                complaints.lost(departure, reason)
                pause = wasServing ? .milliseconds(50) : min(pause * 2, .seconds(2))
            }
            try wait(pause)
            pause = min(pause, .seconds(2))
        }
    }

    /// Until the worker is stopped, at most.
    private func wait(_ time: Duration) throws {
        var poller = ZMQPoller([], wakeup: wakeup)
        let end = ContinuousClock.now + time
        while !worker.stopping.isSet, ContinuousClock.now < end {
            _ = try poller.wait(milliseconds: max(1, ContinuousClock.now.duration(to: end).milliseconds))
        }
    }
}
