import Dispatch
import Synchronization

/// The experts that one coordinator has given this worker, by epoch, and the thread that brings them into memory. Shared
/// by the session, which is told what to own, and the thread that computes.
final class ExpertShare: Sendable {
    /// How far this worker is from serving what it was last given.
    enum Progress {
        case loading
        case loaded(epoch: UInt64)
        case failed(String)
    }

    private struct State {
        /// Ascending epochs: those that the coordinator may use, and the newest.
        var accepted: [(epoch: UInt64, experts: ExpertSet)] = []
        var loadedEpoch: UInt64 = 0
        var isConnected = false
        var failure: String?
    }

    private let state = Mutex(State())
    let supply: ExpertSupply
    private let memory: WorkerMemory
    private let coordinator: Int
    /// Wakes the session.
    private let news: Wakeup
    private let stopping = StopFlag()
    private let loader = Mutex<BackgroundThread?>(nil)
    /// Wakes the loader.
    private let change = DispatchSemaphore(value: 0)

    init(_ supply: ExpertSupply, memory: WorkerMemory, coordinator: Int, news: Wakeup) {
        self.supply = supply
        self.memory = memory
        self.coordinator = coordinator
        self.news = news
    }

    var progress: Progress {
        state.withLock {
            if let failure = $0.failure { return .failed(failure) }
            return $0.isConnected && $0.loadedEpoch > 0 && $0.loadedEpoch == $0.accepted.last?.epoch
                ? .loaded(epoch: $0.loadedEpoch) : .loading
        }
    }

    /// Requests can come.
    func connected() { state.withLock { $0.isConnected = true } }

    /// The worker cannot serve this coordinator.
    func fail(_ reason: String) {
        state.withLock { $0.failure = reason }
        news.signal()
    }

    /// Accepts requests of this epoch too, and begins to load its experts.
    /// - Parameter announced: the newest epoch that the coordinator was told to be loaded. Later ones are overtaken, and will
    ///   never be in force.
    /// - Returns: false when there is no room for them beside other coordinators'.
    func assign(_ epoch: UInt64, _ experts: ExpertSet, announced: UInt64) -> Bool {
        let known = state.withLock { $0.accepted }
        guard epoch > known.last?.epoch ?? 0 else { return true }
        let before = known.filter { $0.epoch <= announced }
        guard memory.take(experts, keeping: before.map(\.experts), of: supply.stock, by: coordinator) else {
            return false
        }
        state.withLock {
            $0.accepted.removeAll { $0.epoch > announced }
            $0.accepted.append((epoch, experts))
            // Whatever a coordinator says, there is an end to it.
            if $0.accepted.count > 64 { $0.accepted.remove(at: 1) }
        }
        loader.withLock { $0 = $0 ?? BackgroundThread("cluster-loader") { [self] in load() } }
        change.signal()
        return true
    }

    /// No request comes of other epochs than these and the newest: what they alone needed goes, though a newer placement may
    /// be on its way still.
    func keep(_ epochs: ClosedRange<UInt64>) {
        let accepted = state.withLock { state in
            let newest = state.accepted.last?.epoch
            state.accepted.removeAll { $0.epoch != newest && !epochs.contains($0.epoch) }
            return state.accepted
        }
        guard let newest = accepted.last else { return }
        memory.release(allBut: newest.experts, keeping: accepted.dropLast().map(\.experts), by: coordinator)
        change.signal()
    }

    /// Loads what is newest, again and again. Who assigns never waits for this: it leaves the processor to others where it
    /// can, and may be kept from it.
    private func load() {
        while !stopping.isSet {
            let (accepted, loaded) = state.withLock { ($0.accepted, $0.loadedEpoch) }
            guard let newest = accepted.last else { return }
            if newest.epoch > loaded {
                if loaded > 0 { BackgroundThread.yield() }
                do { try supply.load(newest.experts) { isNewest(newest.epoch) } } catch { return fail("\(error)") }
                // When it is not the newest any more, the load was given up.
                state.withLock { if $0.accepted.last?.epoch == newest.epoch { $0.loadedEpoch = newest.epoch } }
                news.signal()
            } else {
                // What only earlier epochs need stays until they are over.
                if accepted.count == 1 { memory.release(allBut: newest.experts, by: coordinator) }
                change.wait()
            }
        }
    }

    /// The experts of an epoch that this worker was given; earlier ones are forgotten. Nil for any other epoch.
    func experts(of epoch: UInt64) -> ExpertSet? {
        state.withLock {
            guard let index = $0.accepted.firstIndex(where: { $0.epoch == epoch }) else { return nil }
            if index > 0 {
                $0.accepted.removeFirst(index)
                change.signal()
            }
            return $0.accepted[0].experts
        }
    }

    /// Ends the load in progress.
    func stop() {
        stopping.set()
        change.signal()
        loader.withLock { $0 }?.join()
    }

    private func isNewest(_ epoch: UInt64) -> Bool {
        !stopping.isSet && state.withLock { $0.accepted.last?.epoch == epoch }
    }
}
