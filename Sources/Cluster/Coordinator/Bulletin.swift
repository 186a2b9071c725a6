import Synchronization

/// What the control thread lets everyone else know, and those who wait for the cluster to be ready.
final class Bulletin: Sendable {
    private struct Waiter {
        let workers: Int
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var membership: Membership
        var links: [WorkerID: WorkerLink] = [:]
        var owners: [WorkerID: PublicKey] = [:]
        var now = ContinuousClock.now
        var hasEnded = false
        var waiters: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state: Mutex<State>
    let localExperts: Bool, sharesWork: Bool

    init(_ membership: Membership, localExperts: Bool, sharesWork: Bool) {
        state = Mutex(State(membership: membership))
        self.localExperts = localExperts
        self.sharesWork = sharesWork
    }

    /// - Parameters:
    ///   - owners: whose the members' identities are; empty without keys.
    ///   - now: the time by which `membership` judges.
    func update(
        _ membership: Membership, links: [WorkerID: WorkerLink], owners: [WorkerID: PublicKey] = [:],
        at now: ContinuousClock.Instant, hasEnded: Bool
    ) {
        let waiters = state.withLock { state in
            state.membership = membership
            state.links = links
            state.now = now
            state.owners = owners
            state.hasEnded = hasEnded
            let due = state.waiters.filter { hasEnded || isReady(state, workers: $0.value.workers) }
            for id in due.keys { state.waiters[id] = nil }
            return due.values.map(\.continuation)
        }
        for waiter in waiters { waiter.resume(with: hasEnded ? .failure(Self.ended) : .success(())) }
    }

    /// Whether it takes part, and whose identity that is; no owner without keys.
    func membership(of id: WorkerID) -> (isMember: Bool, owner: PublicKey?) {
        state.withLock { ($0.membership.members[id] != nil, $0.owners[id]) }
    }

    func isReady(workers: Int) -> Bool { state.withLock { isReady($0, workers: workers) } }

    func status(protection: String, rowsComputedHere: Int, dropped: [DropCause: Int]) -> ClusterStatus {
        state.withLock {
            ClusterStatus(
                $0.membership, links: $0.links, localExperts: localExperts, sharesWork: sharesWork,
                isServing: isReady($0, workers: 0), protection: protection, rowsComputedHere: rowsComputedHere,
                dropped: dropped, at: $0.now)
        }
    }

    func waitUntilReady(workers: Int) async throws {
        let id = state.withLock {
            $0.nextWaiter += 1
            return $0.nextWaiter
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let answer: Result<Void, any Error>? = state.withLock {
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if $0.hasEnded { return .failure(Self.ended) }
                    if isReady($0, workers: workers) { return .success(()) }
                    $0.waiters[id] = Waiter(workers: workers, continuation: continuation)
                    return nil
                }
                if let answer { continuation.resume(with: answer) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
        }
    }

    private static let ended = ClusterError("the coordinator was shut down before the cluster was ready")

    private func isReady(_ state: State, workers: Int) -> Bool {
        !state.hasEnded && state.membership.isServing(localExperts: localExperts)
            && state.membership.placement.workers.count >= workers
    }
}
