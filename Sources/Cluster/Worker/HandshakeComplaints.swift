/// Says why a worker is not taken in: once of each cause, for it keeps trying, until it has been taken in.
final class HandshakeComplaints {
    private let worker: Worker
    private var said: Set<HandshakeFailure> = []
    private var hasSaidAbsent = false

    init(_ worker: Worker) { self.worker = worker }

    func coordinatorIsAbsent() {
        if !hasSaidAbsent { worker.log(.info, "waiting for the coordinator", [("endpoint", worker.join.description)]) }
        hasSaidAbsent = true
    }

    func report(_ failure: HandshakeFailure) {
        guard said.insert(failure).inserted else { return }
        worker.log(
            .error, "cannot join; trying on",
            [("endpoint", worker.join.description)] + failure.advice(toWorkerWith: worker.protection.keys))
    }

    func joined() {
        said = []
        hasSaidAbsent = false
    }
}
