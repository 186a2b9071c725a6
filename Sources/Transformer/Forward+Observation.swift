import Checkpoints
import Kernels

extension Transformer {
    func observe(_ observation: Observation, layer: Int, _ values: UnsafeBufferPointer<Float>, rows: Int) {
        observer?.observe(observation, layer: layer, values: values, rows: rows)
    }

    /// The softmax of each row and head, while attention runs. Nil without an observer, or with several threads, whose
    /// calls would come in any order.
    func probabilityObserver(
        _ layer: Int
    ) -> (
        (_ row: Int, _ kvHead: Int, _ keys: Int, _ scores: UnsafePointer<Float>, _ sums: UnsafePointer<Float>) -> Void
    )? {
        guard let observer, pool.threads == 1 else { return nil }
        let group = config.headCount / config.keyValueHeadCount
        // By row: attention goes through all rows of one head, then the next.
        var seen: [Int: (probabilities: [Float], sinks: [Float])] = [:]
        return { row, kvHead, keys, scores, sums in
            var (probabilities, sinks) = seen[row] ?? ([], [])
            for head in 0..<group {
                let numerators = UnsafeBufferPointer(start: scores + head * keys, count: keys)
                probabilities.append(contentsOf: numerators.map { $0 / sums[head] })
                sinks.append(max(0, 1 - numerators.reduce(0, +) / sums[head]))
            }
            seen[row] = (probabilities, sinks)
            guard kvHead == self.config.keyValueHeadCount - 1 else { return }
            probabilities.withUnsafeBufferPointer {
                observer.observe(.attentionProbabilities, layer: layer, values: $0, rows: 1)
            }
            sinks.withUnsafeBufferPointer { observer.observe(.sinkProbabilities, layer: layer, values: $0, rows: 1) }
        }
    }

    /// What attention read and gave: queries, keys and values apart, the heads' results, the projection of those.
    func observeAttention(_ layer: Int, _ batch: MicroBatch) {
        guard let observer else { return }
        let rows = batch.rows.count
        let (width, dimension) = (layers[layer].attention.queryKeyValue.outputs, config.headDimension)
        let (queries, keys) = (config.headCount * dimension, config.keyValueHeadCount * dimension)
        for (observation, offset, count) in [
            (Observation.query, 0, queries), (.key, queries, keys), (.value, queries + keys, keys),
        ] {
            let values = (0..<rows).flatMap {
                UnsafeBufferPointer(start: batch.projected.base + $0 * width + offset, count: count)
            }
            values.withUnsafeBufferPointer { observer.observe(observation, layer: layer, values: $0, rows: rows) }
        }
        observe(.attentionHeads, layer: layer, batch.attended.values, rows: rows)
        observe(.attentionOutput, layer: layer, floats(batch.blockOutput, rows * config.hiddenSize), rows: rows)
    }

    /// What the router chose, and the weighted sum of the chosen experts.
    func observeExperts(_ layer: Int, _ batch: MicroBatch) {
        guard let observer else { return }
        let (topK, rows) = (config.expertsPerToken, batch.rows.count)
        observe(.routerLogits, layer: layer, floats(batch.routerLogits, rows * config.expertCount), rows: rows)
        observe(.routingWeights, layer: layer, floats(batch.routingWeights, rows * topK), rows: rows)
        observer.observe(
            experts: UnsafeBufferPointer(start: batch.chosen.base, count: rows * topK), layer: layer, rows: rows)
    }

    private func floats(_ scratch: Scratch<Float>, _ count: Int) -> UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: scratch.base, count: count)
    }
}
