import Checkpoints
import Transformer

/// The experts of one model in a worker's memory: once, however many coordinators ask for them.
final class ExpertStock: Sendable {
    let model: ModelIdentity
    /// What coordinators have sent; nil where this worker has every expert of its own.
    let store: WeightStore?
    /// Makes the experts of a precision; called on the thread that uses them.
    let makeExperts: @Sendable (Precision) throws -> any ExpertExecutor
    /// What was computed with them, for whichever coordinator.
    let meter = ComputeMeter()

    init(
        model: ModelIdentity, store: WeightStore? = nil,
        makeExperts: @escaping @Sendable (Precision) throws -> any ExpertExecutor
    ) {
        self.model = model
        self.store = store
        self.makeExperts = makeExperts
    }

    convenience init(_ store: WeightStore, threads: Int) {
        self.init(model: store.model, store: store) { try LocalExperts(store, precision: $0, threads: threads) }
    }
}

/// Where the experts that one coordinator wants come from: a checkpoint of the worker's own, or that coordinator.
struct ExpertSupply: Sendable {
    let stock: ExpertStock
    /// Brings experts into memory, and gives up as soon as they are not wanted any more.
    let load: @Sendable (ExpertSet, _ isWanted: () -> Bool) throws -> Void
    /// How far the load under way is; nil where it is not worth telling.
    var progress: @Sendable () -> LoadingProgress? = { nil }
}

extension ExpertSupply {
    /// From a mapped checkpoint.
    init(_ checkpoint: Checkpoint, threads: Int) throws {
        let model = try ModelIdentity(checkpoint)
        let meter = PrefetchMeter()
        self.init(
            stock: ExpertStock(model: model) { try LocalExperts(checkpoint, precision: $0, threads: threads) },
            load: { checkpoint.prefetch($0, bytesPerExpert: model.bytesPerExpert, meter, isWanted: $1) },
            progress: { meter.progress })
    }

    /// From the coordinator.
    init(_ stock: ExpertStock, _ fetcher: WeightFetcher) {
        self.init(
            stock: stock, load: { try fetcher.load($0, isWanted: $1) }, progress: { fetcher.progress })
    }
}
