import Checkpoints
import Synchronization

/// A worker's memory: the stocks of experts in it, and by ``MemoryPlan`` who may want how many. For every thread.
final class WorkerMemory: Sendable {
    private struct State {
        var plan: MemoryPlan
        /// By coordinator, those that are filled over the wire. Kept from one session to the next.
        var stocks: [Int: ExpertStock] = [:]
    }

    private let state: Mutex<State>
    private let cache: WeightCache?
    private let threads: Int
    private let log: Log
    /// Called when all coordinators are to be told less.
    private let onDivision: @Sendable () -> Void

    init(
        limit: UInt64, coordinators: Int, cache: WeightCache?, threads: Int, log: Log,
        onDivision: @escaping @Sendable () -> Void
    ) {
        state = Mutex(State(plan: MemoryPlan(limit: limit, coordinators: coordinators)))
        self.cache = cache
        self.threads = threads
        self.log = log
        self.onDivision = onDivision
    }

    /// See ``MemoryPlan/join(_:)``.
    func join(_ coordinator: Int) -> UInt64? { state.withLock { $0.plan.join(coordinator) } }

    func hasTooMuch(_ coordinator: Int) -> Bool { state.withLock { $0.plan.hasTooMuch(coordinator) } }

    func leave(_ coordinator: Int) { state.withLock { $0.plan.leave(coordinator) } }

    /// The stock for a coordinator's model: what any coordinator has brought here of that model, to be added to.
    func stock(for description: ModelDescription, of coordinator: Int) -> ExpertStock {
        state.withLock { state in
            let known = state.stocks.values.first {
                $0.model.digest == description.digest && $0.store?.expertConfig == description.experts
            }
            let stock = known ?? ExpertStock(WeightStore(description, cache: cache), threads: threads)
            // A model that is served no more.
            if stock !== state.stocks[coordinator] { state.plan.forget(coordinator) }
            state.stocks[coordinator] = stock
            return stock
        }
    }

    /// See ``MemoryPlan/take(_:keeping:of:expertBytes:by:)``.
    func take(_ experts: ExpertSet, keeping earlier: [ExpertSet], of stock: ExpertStock, by coordinator: Int) -> Bool {
        let (fits, isNews) = state.withLock { state in
            let wasDivided = state.plan.isDivided
            let fits = state.plan.take(
                experts, keeping: earlier, of: ObjectIdentifier(stock), expertBytes: stock.model.bytesPerExpert,
                by: coordinator)
            if fits { dropUnneeded(state) }
            return (fits, state.plan.isDivided != wasDivided)
        }
        if isNews {
            log(
                .warning, "what the coordinators want does not fit together; each gets an equal part of the memory",
                [("memory", String(state.withLock { $0.plan.limit }))])
            onDivision()
        }
        return fits
    }

    /// See ``MemoryPlan/release(allBut:keeping:by:)``.
    func release(allBut experts: ExpertSet, keeping earlier: [ExpertSet] = [], by coordinator: Int) {
        state.withLock {
            if $0.plan.release(allBut: experts, keeping: earlier, by: coordinator) { dropUnneeded($0) }
        }
    }

    /// Under the lock, so that nothing goes that somebody has just come to need.
    private func dropUnneeded(_ state: State) {
        for stock in state.stocks.values {
            guard let store = stock.store else { continue }
            store.keepOnly(state.plan.needed(of: ObjectIdentifier(stock)) ?? ExpertSet(shape: stock.model.shape))
        }
    }
}
