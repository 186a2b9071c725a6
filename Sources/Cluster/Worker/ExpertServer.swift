import Dispatch
import Foundation
import Synchronization
import Transformer

/// One coordinator, as the thread that computes knows it.
struct ExpertClient: Sendable {
    /// Connected to the coordinator; the computing thread's own as long as it has this client.
    let socket: ZMQSocket
    let format: ExpertRowFormat
    let share: ExpertShare
    let counters: DropCounters
}

/// The thread that computes experts, for every coordinator that this worker serves: one batch at a time, with all of the
/// worker's threads, for whoever waits. It sleeps while nobody does.
final class ExpertServer: Sendable {
    private struct State {
        var clients: [ExpertClient] = []
        /// Signalled when the clients that were taken out are let go of.
        var partings: [DispatchSemaphore] = []
        var hasChanged = false
    }

    /// The waking of this thread may have displaced, on a processor that they share, the one that was about to send another
    /// worker its rows. That needs microseconds, and goes first where it would wait for a millisecond's computing. With
    /// more rows each waits long anyway, and whoever else is let past computes as long.
    private static let fewRows = 16

    private let state = Mutex(State())
    private let stopping = StopFlag()
    private let wakeup: Wakeup
    private let thread = Mutex<BackgroundThread?>(nil)

    init() throws {
        wakeup = try Wakeup()
        thread.withLock { $0 = BackgroundThread("cluster-data") { [self] in run() } }
    }

    /// Takes requests of this coordinator too.
    func add(_ client: ExpertClient) {
        state.withLock {
            $0.clients.append(client)
            $0.hasChanged = true
        }
        wakeup.signal()
    }

    /// Takes no more requests of the coordinator that gave this share, and returns when its socket is free: after the
    /// batch in progress.
    func remove(_ share: ExpertShare) {
        let parting = DispatchSemaphore(value: 0)
        state.withLock {
            $0.clients.removeAll { $0.share === share }
            $0.partings.append(parting)
            $0.hasChanged = true
        }
        wakeup.signal()
        parting.wait()
    }

    /// Ends the thread, when nobody is served any more.
    func stop() {
        stopping.set()
        wakeup.signal()
        thread.withLock { $0 }?.join()
    }

    private func run() {
        // A thread that has rows to compute for a millisecond must not take a processor from one that was about to send
        // others theirs; the threads that share the work inherit this.
        var parameters = sched_param(sched_priority: 0)
        sched_setscheduler(0, batchPolicy, &parameters)
        var handlers: [RequestHandler] = []
        var poller = ZMQPoller([], wakeup: wakeup)
        let joint = JointBatch()
        while !stopping.isSet {
            if let change = takeChange() {
                handlers = makeHandlers(change.clients, from: handlers)
                poller = ZMQPoller(handlers.map(\.client.socket), wakeup: wakeup)
                for parting in change.partings { parting.signal() }
            }
            do { _ = try poller.wait(milliseconds: 60_000) } catch {
                for handler in handlers { fail(handler, error) }
            }
            while !stopping.isSet, !state.withLock({ $0.hasChanged }), receive(handlers) {
                if handlers.reduce(0, { $0 + $1.size }) <= Self.fewRows { sched_yield() }
                answer(handlers, joint)
            }
        }
    }

    private func takeChange() -> State? {
        state.withLock { state in
            guard state.hasChanged else { return nil }
            defer {
                state.partings = []
                state.hasChanged = false
            }
            return state
        }
    }

    /// The handlers of these clients: those that there were, and new ones. Coordinators of one model and precision share
    /// what computes their experts.
    private func makeHandlers(_ clients: [ExpertClient], from before: [RequestHandler]) -> [RequestHandler] {
        clients.reduce(into: []) { handlers, client in
            if let known = before.first(where: { $0.client.share === client.share }) { return handlers.append(known) }
            let stock = client.share.supply.stock
            let alike = (before + handlers).first {
                $0.client.share.supply.stock === stock && $0.format == client.format
            }
            do {
                let experts = try alike?.experts ?? MeasuredExperts(stock, client.format.precision)
                handlers.append(RequestHandler(client, experts))
            } catch { client.share.fail("\(error)") }
        }
    }

    /// Takes at most one message of each coordinator, so that none can keep another waiting; false when there was none.
    private func receive(_ handlers: [RequestHandler]) -> Bool {
        var hasReceived = false
        for handler in handlers {
            do { if try handler.receive() { hasReceived = true } } catch { fail(handler, error) }
        }
        return hasReceived
    }

    private func answer(_ handlers: [RequestHandler], _ joint: JointBatch) {
        guard handlers.count == 1, let only = handlers.first else { return joint.answer(handlers, failing: fail) }
        do { try only.answer() } catch { fail(only, error) }
    }

    /// Whose socket cannot be used is served no more; the others are.
    private func fail(_ handler: RequestHandler, _ error: any Error) {
        handler.client.share.fail("\(error)")
        state.withLock { state in
            state.clients.removeAll { $0.share === handler.client.share }
            state.hasChanged = true
        }
    }
}

/// SCHED_BATCH of sched(7), which only GNU's part of <sched.h> names.
private let batchPolicy: Int32 = 3
