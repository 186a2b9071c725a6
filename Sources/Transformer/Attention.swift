import Checkpoints
import Kernels

/// The attention block of one layer: projections, rotary embedding, the cache, and attention with sinks.
struct Attention {
    let layer: Int
    /// The layer's number among those that share its pages: the full layers, or the sliding ones.
    let indexInPages: Int
    let queryKeyValue: Linear
    let output: Linear
    let sinks: UnsafePointer<UInt16>  // [heads]
    /// Keys a query sees, itself included; nil: all before it.
    let window: Int?

    /// The first position that a query at `position` sees.
    func firstKey(for position: Int) -> Int { KVLayout.firstKey(for: position, window: window) }
}

extension Attention {
    private func view(_ pages: SequencePages) -> shoal_kv_pages {
        pages.view(index: indexInPages, isSliding: window != nil)
    }

    /// Rotates the queries and keys in `projected` and stores keys and values.
    /// `projected`: [rows][query + key + value]; cosines, sines: [rows][headDimension / 2].
    func rotateAndStore(
        _ rows: [Row], projected: UnsafeMutablePointer<Float>, cosines: UnsafePointer<Float>,
        sines: UnsafePointer<Float>, _ config: ModelConfig, _ kernels: Kernels, _ pool: ThreadPool
    ) {
        let dimension = config.headDimension
        pool.run(rows.count) { index in
            let query = projected + index * queryKeyValue.outputs
            let key = query + config.headCount * dimension
            let angles = index * dimension / 2
            // Keys follow the queries, so that one call rotates both.
            kernels.pointee.rope(
                query, config.headCount + config.keyValueHeadCount, dimension, cosines + angles, sines + angles)
            let row = rows[index]
            row.pages.store(
                key: key, value: key + config.keyValueHeadCount * dimension, position: row.position,
                in: view(row.pages))
        }
    }

    /// Attends from every row: each KV head's group of query heads together. `attended`: [rows][heads * headDimension].
    /// `seen` is told each group's numerators [group][keys] and denominators [group], when there is one thread.
    func attend(
        _ rows: [Row], projected: UnsafePointer<Float>, attended: Activations, scratch: Scratch<Float>,
        _ config: ModelConfig, _ kernels: Kernels, _ pool: ThreadPool,
        seen: (
            (_ row: Int, _ kvHead: Int, _ keys: Int, _ scores: UnsafePointer<Float>, _ sums: UnsafePointer<Float>) ->
                Void
        )?
    ) {
        let group = config.headCount / config.keyValueHeadCount
        let dimension = config.headDimension
        let mostKeys = rows.lazy.map { $0.position - firstKey(for: $0.position) + 1 }.max() ?? 0
        // In strides, so that a sequence that grows does not need other memory in every step.
        let laneFloats = group * ((mostKeys + 1023) / 1024 * 1024 + 1)
        scratch.reserve(laneFloats * pool.threads)
        pool.runLanes(rows.count * config.keyValueHeadCount) { lane, item in
            // Head after head, whose keys and values a core's cache then keeps for the next row of the sequence.
            let (kvHead, index) = item.quotientAndRemainder(dividingBy: rows.count)
            let row = rows[index]
            var kv = view(row.pages)
            let sums = scratch.base + lane * laneFloats
            let first = firstKey(for: row.position)
            let head = kvHead * group
            kernels.pointee.attention(
                &kv, kvHead, group, projected + index * queryKeyValue.outputs + head * dimension, sinks + head,
                1 / Float(dimension).squareRoot(), first, row.position, sums + group, sums,
                attended.row(index) + head * dimension)
            seen?(index, kvHead, row.position - first + 1, sums + group, sums)
        }
    }
}
