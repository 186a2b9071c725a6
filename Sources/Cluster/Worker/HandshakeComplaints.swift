/// Says why a coordinator does not take this worker in: once of each cause, for it keeps trying, until it has been taken in.
/// And how it comes and goes, as far as ``Departures`` lets it.
final class HandshakeComplaints {
    private let address: CoordinatorAddress
    private let log: Log
    private var said: Set<HandshakeFailure> = []
    private var lastRefusal: String?
    private var hasSaidAbsent = false
    private var departures = Departures()
    /// Whether the log knows that the worker is not joined.
    private var isJoiningNews = true

    init(_ address: CoordinatorAddress, log: Log) {
        self.address = address
        self.log = log
    }

    func coordinatorIsAbsent() {
        guard !hasSaidAbsent else { return }
        hasSaidAbsent = true
        let endpoint = ("endpoint", address.endpoint.description)
        if let reason = address.endpoint.resolutionFailure() {
            log(.warning, "the coordinator's name cannot be resolved; trying on", [endpoint, ("reason", reason)])
        } else {
            log(.info, "waiting for the coordinator", [endpoint])
        }
    }

    func report(_ failure: HandshakeFailure) {
        guard said.insert(failure).inserted else { return }
        log(
            .error, "cannot join; trying on",
            [("endpoint", address.endpoint.description)] + failure.advice(toWorkerWith: address.protection.keys))
    }

    func report(_ refusal: ClusterError) {
        // The reason may be the coordinator's own words, of which there is no end.
        guard refusal.description != lastRefusal else { return }
        lastRefusal = refusal.description
        log(
            .error, "this worker does not serve the coordinator",
            [
                ("endpoint", address.endpoint.description), ("reason", refusal.description),
            ])
    }

    func joined(as id: WorkerID) {
        said = []
        lastRefusal = nil
        hasSaidAbsent = false
        guard isJoiningNews else { return }
        isJoiningNews = false
        log(.info, "joined", [("coordinator", address.endpoint.description), ("worker", id.description)])
    }

    func lost(_ departure: Departure, _ reason: String) {
        guard let unsaid = departures.note(departure, at: .now) else { return }
        isJoiningNews = true
        log(
            .warning, "lost the coordinator; joining again",
            [("coordinator", address.endpoint.description), ("reason", reason)]
                + (unsaid > 0 ? [("more since the last such line", String(unsaid))] : []))
    }
}
