package import Checkpoints
import Synchronization

/// Whether an expert is to be fetched by whoever asks.
package enum ExpertClaim: Sendable { case mine, others, here }

/// The experts of one checkpoint that a worker without it has: each whole and intact, in a mapped file of the cache or in
/// memory. It outlives the sessions with coordinators, so that a broken connection costs nothing that had come. Of
/// several sessions at once, each fetches and keeps only what it has claimed.
package final class WeightStore: ExpertSource {
    package let expertConfig: ExpertConfig
    let model: ModelIdentity
    let chunks: Chunks
    private let layout: ExpertLayout
    private let cache: WeightCache?
    private let here = Mutex<[ExpertID: ExpertParts]>([:])
    private let partials = Mutex<[ExpertID: PartialExpert]>([:])
    private let claims = Mutex<[ExpertID: WorkerID]>([:])

    package init(_ description: ModelDescription, cache: WeightCache?) {
        expertConfig = description.experts
        model = ModelIdentity(description.experts, digest: description.digest)
        layout = ExpertLayout(description.experts)
        chunks = Chunks(of: model)
        self.cache = cache
    }

    package func parts(layer: Int, expert: Int) -> ExpertParts? {
        here.withLock { $0[ExpertID(layer: layer, expert: expert)] }
    }

    /// Whether the expert is here, or can be had from the cache.
    package func look(_ expert: ExpertID) -> Bool {
        if here.withLock({ $0[expert] != nil }) { return true }
        guard let memory = cache?.open(file(expert)) else { return false }
        take(expert, memory)
        return true
    }

    /// Sees to it that nobody else fetches the expert, unless it is here or somebody does.
    package func claim(_ expert: ExpertID, by session: WorkerID) -> ExpertClaim {
        claims.withLock { claims in
            if here.withLock({ $0[expert] != nil }) { return .here }
            if claims[expert] == nil { claims[expert] = session }
            return claims[expert] == session ? .mine : .others
        }
    }

    /// Lets others fetch what this session does not get.
    package func releaseClaims(of session: WorkerID) {
        claims.withLock { claims in claims = claims.filter { $0.value != session } }
    }

    /// Begins to take an expert, or goes on with it.
    /// - Returns: the chunks that an earlier attempt has left, and that are intact.
    /// - Throws: ``ClusterError`` when there is no memory for it.
    package func resume(_ expert: ExpertID, _ digests: [ChunkDigest]) throws -> Set<Int> {
        let known = partials.withLock { $0[expert] }
        let partial = try known ?? PartialExpert(chunks: chunks, file: cache?.begin(file(expert)))
        partials.withLock { $0[expert] = partial }
        return partial.resume(digests)
    }

    /// Takes a chunk that is right.
    /// - Throws: ``ClusterError`` when it can be held neither in a file nor in memory.
    package func keep(_ expert: ExpertID, _ index: Int, _ bytes: UnsafeRawBufferPointer) throws {
        try partials.withLock { $0[expert] }?.keep(index, bytes)
    }

    /// Makes an expert whose chunks are all here available.
    /// - Throws: ``ClusterError`` when it can be held neither in a file nor in memory.
    package func finish(_ expert: ExpertID, _ digests: [ChunkDigest]) throws {
        guard let partial = partials.withLock({ $0.removeValue(forKey: expert) }) else { return }
        take(expert, try partial.whole { cache?.finish($0, file(expert), digests) })
        claims.withLock { $0[expert] = nil }
    }

    /// Forgets every other expert.
    package func keepOnly(_ experts: ExpertSet) {
        let isKept = { (id: ExpertID) in experts.contains(layer: id.layer, expert: id.expert) }
        partials.withLock { partials in partials = partials.filter { isKept($0.key) } }
        // The memory goes when the lock is free, and nobody computes with it any more.
        let forgotten = here.withLock { here in
            let forgotten = here.filter { !isKept($0.key) }
            here = here.filter { isKept($0.key) }
            return forgotten
        }
        for expert in forgotten.keys { cache?.release(file(expert)) }
    }

    private func take(_ expert: ExpertID, _ memory: WeightMemory) {
        let parts = ExpertParts(memory.start, layout, owner: memory)
        here.withLock { $0[expert] = parts }
    }

    private func file(_ expert: ExpertID) -> CacheFile {
        CacheFile(checkpoint: model.digest, expert: expert, chunks: chunks)
    }
}
