import Checkpoints
import Foundation
import Synchronization

/// How far a worker is with reading its own checkpoint.
final class PrefetchMeter: Sendable {
    private let state = Mutex(LoadingProgress(loaded: 0, wanted: 0, received: 0))

    var progress: LoadingProgress { state.withLock { $0 } }

    func begin(_ wanted: Int) {
        state.withLock { $0 = LoadingProgress(loaded: 0, wanted: UInt64(wanted), received: 0) }
    }

    func advance(by bytes: Int) { state.withLock { $0.loaded += UInt64(bytes) } }
}

extension Checkpoint {
    /// Reads the experts' pages into the page cache, where every process of this machine shares them.
    func prefetch(_ experts: ExpertSet, bytesPerExpert: Int, _ meter: PrefetchMeter, isWanted: () -> Bool) {
        meter.begin(experts.count * bytesPerExpert)
        for layer in 0..<config.layerCount {
            for expert in 0..<config.expertCount where experts.contains(layer: layer, expert: expert) {
                for slice in slices(layer: layer, expert: expert) {
                    guard isWanted() else { return }
                    Self.touch(slice)
                }
                meter.advance(by: bytesPerExpert)
            }
        }
    }
}
