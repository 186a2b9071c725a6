import Checkpoints
import Transformer

/// Where a worker's experts come from: its own checkpoint, or the coordinator.
struct ExpertSupply: Sendable {
    let model: ModelIdentity
    /// Makes the experts of a precision; called on the thread that uses them.
    let makeExperts: @Sendable (Precision) throws -> any ExpertExecutor
    /// Brings experts into memory, and gives up as soon as they are not wanted any more.
    let load: @Sendable (ExpertSet, _ isWanted: () -> Bool) throws -> Void
    /// No others are needed any more.
    var keepOnly: @Sendable (ExpertSet) -> Void = { _ in }
    /// How far the load under way is; nil where it is not worth telling.
    var progress: @Sendable () -> LoadingProgress? = { nil }
}

extension ExpertSupply {
    /// From a mapped checkpoint.
    init(_ checkpoint: Checkpoint, threads: Int) throws {
        self.init(
            model: try ModelIdentity(checkpoint),
            makeExperts: { try LocalExperts(checkpoint, precision: $0, threads: threads) },
            load: { checkpoint.prefetch($0, isWanted: $1) })
    }

    /// From a store that is filled from the coordinator.
    init(_ store: WeightStore, _ fetcher: WeightFetcher, threads: Int) {
        self.init(
            model: store.model,
            makeExperts: { try LocalExperts(store, precision: $0, threads: threads) },
            load: { try fetcher.load($0, isWanted: $1) },
            keepOnly: { store.keepOnly($0) },
            progress: { fetcher.progress })
    }
}
