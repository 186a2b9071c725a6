import Dispatch
import Foundation
import Synchronization
import Transformer

/// The part of a session that computes: the data thread, the thread that brings experts into memory, and what they
/// share with the session.
final class ExpertServer: Sendable {
    /// How far this worker is from serving what it was last given.
    enum Progress {
        case loading
        case loaded(epoch: UInt64)
        case failed(String)
    }

    private struct State {
        /// Ascending epochs. One is dropped when the coordinator has gone on to a later one.
        var accepted: [(epoch: UInt64, experts: ExpertSet)] = []
        var loadedEpoch: UInt64 = 0
        var isConnected = false
        var failure: String?
    }

    private let state = Mutex(State())
    private let supply: ExpertSupply
    /// Wakes the session.
    private let news: Wakeup
    private let log: Log
    private let stopping = StopFlag()
    private let wakeup: Wakeup
    private let dataThread = Mutex<BackgroundThread?>(nil)
    private let loader = Mutex<BackgroundThread?>(nil)
    /// Wakes the loader, which has loaded.
    private let epochChange = DispatchSemaphore(value: 0)

    /// `endpoint` is where `socket` connects.
    init(
        _ supply: ExpertSupply, news: Wakeup, socket: ZMQSocket, endpoint: Endpoint, format: ExpertRowFormat,
        counters: DropCounters, log: Log
    ) throws {
        self.supply = supply
        self.news = news
        self.log = log
        wakeup = try Wakeup()
        dataThread.withLock {
            $0 = BackgroundThread("cluster-data") { [self] in serve(socket, endpoint, format, counters) }
        }
    }

    var progress: Progress {
        state.withLock {
            if let failure = $0.failure { return .failed(failure) }
            return $0.isConnected && $0.loadedEpoch > 0 && $0.loadedEpoch == $0.accepted.last?.epoch
                ? .loaded(epoch: $0.loadedEpoch) : .loading
        }
    }

    /// Accepts requests of this epoch too, and begins to load its experts.
    func assign(_ epoch: UInt64, _ experts: ExpertSet) {
        let (isNew, isServing) = state.withLock {
            guard epoch > $0.accepted.last?.epoch ?? 0 else { return (false, false) }
            $0.accepted.append((epoch, experts))
            // A coordinator that plans again and again keeps the placement in force, which is the oldest.
            if $0.accepted.count > 64 { $0.accepted.remove(at: 1) }
            return (true, $0.loadedEpoch > 0)
        }
        guard isNew else { return }
        epochChange.signal()
        loader.withLock { loader in
            // The one before notices that its epoch is not the newest any more.
            loader?.join()
            loader = BackgroundThread("cluster-loader", yields: isServing) { [self] in load(epoch, experts) }
        }
    }

    private func load(_ epoch: UInt64, _ experts: ExpertSet) {
        do { try supply.load(experts) { isNewest(epoch) } } catch {
            state.withLock { $0.failure = "\(error)" }
            return news.signal()
        }
        state.withLock { if $0.accepted.last?.epoch == epoch { $0.loadedEpoch = epoch } }
        news.signal()
        // What only earlier epochs need stays until they are over.
        while isNewest(epoch) {
            if state.withLock({ $0.accepted.first?.epoch == epoch }) { return supply.keepOnly(experts) }
            epochChange.wait()
        }
    }

    /// The experts of an epoch that this worker was given; earlier ones are forgotten. Nil for any other epoch.
    func experts(of epoch: UInt64) -> ExpertSet? {
        state.withLock {
            guard let index = $0.accepted.firstIndex(where: { $0.epoch == epoch }) else { return nil }
            if index > 0 {
                $0.accepted.removeFirst(index)
                epochChange.signal()
            }
            return $0.accepted[0].experts
        }
    }

    /// Ends both threads, after the batch in progress.
    func stop() {
        stopping.set()
        wakeup.signal()
        epochChange.signal()
        dataThread.withLock { $0 }?.join()
        loader.withLock { $0 }?.join()
    }

    private func isNewest(_ epoch: UInt64) -> Bool {
        !stopping.isSet && state.withLock { $0.accepted.last?.epoch == epoch }
    }

    private func serve(
        _ socket: ZMQSocket, _ endpoint: Endpoint, _ format: ExpertRowFormat, _ counters: DropCounters
    ) {
        // A thread that has rows to compute for a millisecond must not take a processor from one that was about to send
        // others theirs; the threads that share the work inherit this.
        var parameters = sched_param(sched_priority: 0)
        sched_setscheduler(0, batchPolicy, &parameters)
        do {
            var connecting = ZMQPoller(writable: socket, wakeup: wakeup)
            let requests = try RequestHandler(
                socket: socket, format: format, shape: supply.model.shape, counters: counters,
                experts: supply.makeExperts(format.precision))
            if try !connecting.wait(milliseconds: 5000) {
                log(
                    .warning, "the coordinator's data port does not answer; a firewall must let it through",
                    [("endpoint", endpoint.description)])
            }
            while !connecting.isReady(0), !stopping.isSet { _ = try connecting.wait(milliseconds: 60_000) }
            state.withLock { $0.isConnected = true }
            news.signal()
            var poller = ZMQPoller([socket], wakeup: wakeup)
            while !stopping.isSet {
                _ = try poller.wait(milliseconds: 60_000)
                while try !stopping.isSet && requests.handleOne(experts(of:)) {}
            }
        } catch {
            state.withLock { $0.failure = "\(error)" }
            news.signal()
        }
    }
}

/// SCHED_BATCH of sched(7), which only GNU's part of <sched.h> names.
private let batchPolicy: Int32 = 3
