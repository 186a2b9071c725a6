import Checkpoints
import Foundation
import Synchronization

/// The manifests of a checkpoint's experts: made when one is first asked for, on a thread of its own so that nobody's
/// chunks wait meanwhile, and remembered, also for the next start, beside the checkpoint's digest.
final class ManifestBook: Sendable {
    private struct State {
        var known: [ExpertID: [UInt8]] = [:]
        var wanted: Set<ExpertID> = []
        var isEnding = false
    }

    private let checkpoint: Checkpoint
    private let digest: [UInt8]
    private let cache = DigestCache()
    private let state = Mutex(State())
    private let news = DispatchSemaphore(value: 0)
    private let isReady: @Sendable () -> Void
    private let thread = Mutex<BackgroundThread?>(nil)

    /// `isReady` is called when another manifest is known.
    init(_ checkpoint: Checkpoint, digest: [UInt8], isReady: @escaping @Sendable () -> Void) {
        self.checkpoint = checkpoint
        self.digest = digest
        self.isReady = isReady
        thread.withLock { $0 = BackgroundThread("cluster-manifests", yields: true) { [self] in run() } }
    }

    /// 32 bytes for each chunk; nil as long as it is being made.
    func manifest(of expert: ExpertID) -> [UInt8]? {
        state.withLock { state in
            if let known = state.known[expert] { return known }
            if state.wanted.insert(expert).inserted { news.signal() }
            return nil
        }
    }

    func end() {
        state.withLock { $0.isEnding = true }
        news.signal()
        thread.withLock { $0 }?.join()
    }

    private func run() {
        while true {
            news.wait()
            let (isEnding, next) = state.withLock { ($0.isEnding, $0.wanted.min()) }
            if isEnding { return }
            guard let next else { continue }
            let manifest = manifest(next)
            state.withLock {
                $0.known[next] = manifest
                $0.wanted.remove(next)
            }
            isReady()
        }
    }

    private func manifest(_ expert: ExpertID) -> [UInt8] {
        let chunks = Chunks(expertBytes: ExpertLayout(checkpoint.expertConfig).byteCount)
        let name = "\(expert.layer)-\(expert.expert)-\(Chunks.size)-\(SHA256.leafBytes)"
        if let known = cache.blockDigests(name, of: digest), known.count == chunks.manifestBytes { return known }
        let manifest = (0..<chunks.count).flatMap { index -> [UInt8] in
            let slices = checkpoint.slices(of: expert, chunks.range(index))
            return slices.count == 1
                ? SHA256.ofLeaves(slices[0]) : Array(slices.joined()).withUnsafeBytes(SHA256.ofLeaves)
        }
        cache.remember(manifest, name, of: digest)
        return manifest
    }
}
