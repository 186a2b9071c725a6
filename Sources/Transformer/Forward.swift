import Checkpoints
import Kernels

extension Transformer {
    /// One forward pass over all segments together. Calls `body` with the logits [selected positions][vocabularySize],
    /// segment by segment; the memory is valid during the call. What a token's row becomes depends on nothing but the
    /// tokens before it in its own sequence: not on the batch, how it is divided, the threads or the executor.
    ///
    /// Where experts are computed elsewhere the rows may go in two micro-batches, so that one attends while the other is
    /// at the experts. In each layer the first goes before the second, whose rows may see the keys of the first.
    ///
    /// In the last layer all rows leave their keys and values; only those whose logits are wanted go on.
    ///
    /// It writes the segments' own positions in their pages and nothing else: when it throws, it can be repeated.
    /// - Throws: ``ModelError`` for a segment whose pages do not cover what it reads and writes; what `experts` or `body`
    ///   throws.
    public func forward<Result>(
        _ segments: [Segment], experts: any ExpertExecutor,
        _ body: (_ logits: UnsafeMutableBufferPointer<Float>) throws -> Result
    ) throws -> Result {
        for segment in segments { try segment.check(config) }
        try experts.beginStep()
        let plan = divide(segments, experts)
        defer { for batch in bothMicroBatches { batch.end() } }
        let start = ContinuousClock.now

        for batch in microBatches {
            embed(batch)
            rotate(batch)
        }
        for layer in layers {
            for batch in microBatches {
                try collect(batch, experts)
                project(batch, layer)
                if layer.attention.layer == config.layerCount - 1 {
                    batch.keepWanted(width: layer.attention.queryKeyValue.outputs)
                    if batch.rows.isEmpty { continue }
                }
                attend(batch, layer)
                try dispatch(batch, layer, experts)
            }
        }
        for batch in microBatches { try collect(batch, experts) }
        if let plan { overlap.record(plan, duration: start.duration(to: .now)) }
        let end = ContinuousClock.now
        applyOutputHead()
        outputHeadTime = end.duration(to: .now)
        return try body(
            UnsafeMutableBufferPointer(start: logits.base, count: selected.rows * config.vocabularySize))
    }

    /// Fills the micro-batches. Returns what the policy decided where it was asked: with experts in this process there
    /// is nothing to gain, and an observer sees whole batches.
    private func divide(_ segments: [Segment], _ experts: any ExpertExecutor) -> OverlapPolicy.Plan? {
        let rows = rows(of: segments)
        let tokens = segments.flatMap(\.tokens)
        var (plan, firstRows) = (OverlapPolicy.Plan?.none, rows.count)
        if rows.count > 1, observer == nil {
            if let firstMicroBatch {
                firstRows = firstMicroBatch(rows.count)
            } else if let placement = experts.remotePlacement {
                plan = overlap.plan(rows: rows.count, isDecode: rows.count == segments.count, placement: placement)
                if plan?.isSplit == true { firstRows = (rows.count + 1) / 2 }
            }
        }
        microBatches = bothMicroBatches.prefix(firstRows < rows.count ? 2 : 1)
        bothMicroBatches[0].begin(rows[..<firstRows], tokens[..<firstRows], config, format)
        bothMicroBatches[1].begin(rows[firstRows...], tokens[firstRows...], config, format)
        return plan
    }

    private var format: ExpertRowFormat { ExpertRowFormat(precision: precision, hiddenSize: config.hiddenSize) }

    /// hidden = embedding[token]
    private func embed(_ batch: MicroBatch) {
        for (row, token) in batch.tokens.enumerated() {
            kernels.pointee.bf16_to_f32(
                embedding + Int(token) * config.hiddenSize, config.hiddenSize, batch.hidden.row(row))
        }
        observe(.embedding, layer: 0, batch.hidden.values, rows: batch.rows.count)
    }

    /// The cosines and sines of every row's position, for all layers.
    private func rotate(_ batch: MicroBatch) {
        let half = config.headDimension / 2
        pool.run(batch.rows.count) { row in
            rotary.write(
                position: batch.rows[row].position, cosines: batch.cosines.base + row * half,
                sines: batch.sines.base + row * half)
        }
    }

    /// output = RMSNorm(input) · weight, in the form that what follows takes.
    private func normalize(
        _ input: Activations, _ weight: UnsafePointer<UInt16>, into output: Activations, _ form: RowForm
    ) {
        pool.run(input.rows) { row in
            kernels.pointee.rms_norm(input.row(row), weight, config.rmsNormEpsilon, config.hiddenSize, output.row(row))
            output.convert(row: row, to: form, kernels)
        }
    }

    /// queries, keys and values = projection(RMSNorm(hidden)); the keys and values go to the pages.
    private func project(_ batch: MicroBatch, _ layer: Layer) {
        let attention = layer.attention
        normalize(batch.hidden, layer.inputNorm, into: batch.normed, attention.queryKeyValue.form)
        observe(.attentionInput, layer: attention.layer, batch.normed.values, rows: batch.rows.count)
        attention.queryKeyValue.apply(to: batch.normed, into: batch.projected.base, kernels, pool)
        attention.rotateAndStore(
            batch.rows, projected: batch.projected.base, cosines: batch.cosines.base, sines: batch.sines.base, config,
            kernels, pool)
    }

    /// hidden += output(attention(queries))
    private func attend(_ batch: MicroBatch, _ layer: Layer) {
        let rows = batch.rows
        let (attention, index) = (layer.attention, layer.attention.layer)
        attention.attend(
            rows, projected: batch.projected.base, attended: batch.attended, scratch: batch.scores, config,
            kernels, pool, seen: probabilityObserver(index))
        pool.run(rows.count) { batch.attended.convert(row: $0, to: attention.output.form, kernels) }
        attention.output.apply(to: batch.attended, into: batch.blockOutput.base, kernels, pool)
        observeAttention(index, batch)

        pool.run(rows.count) { row in
            var one: Float = 1
            kernels.pointee.combine_f32(
                batch.hidden.row(row), batch.blockOutput.base + row * config.hiddenSize, &one, 1,
                config.hiddenSize, batch.hidden.row(row))
        }
    }

    /// Chooses the experts of RMSNorm(hidden), and sends the rows on their way to them.
    private func dispatch(_ batch: MicroBatch, _ layer: Layer, _ experts: any ExpertExecutor) throws {
        let (index, topK, rows) = (layer.attention.layer, config.expertsPerToken, batch.rows.count)
        normalize(batch.hidden, layer.postAttentionNorm, into: batch.normed, precision.expertForm)
        observe(.expertInput, layer: index, batch.normed.values, rows: rows)

        layer.router.linear.apply(to: batch.normed, into: batch.routerLogits.base, kernels, pool)
        for row in 0..<rows {
            layer.router.choose(
                logits: batch.routerLogits.base + row * config.expertCount, experts: batch.chosen.base + row * topK,
                weights: batch.routingWeights.base + row * topK)
        }
        for slot in 0..<rows * topK {
            batch.assignments.base[slot] = ExpertAssignment(
                row: Int32(slot / topK), expert: batch.chosen.base[slot], slot: Int32(slot))
        }
        try experts.start(
            ExpertBatch(
                layer: index, rowCount: rows,
                values: batch.normed.expertRow(0, precision),
                scales: batch.normed.scalesRow(0),
                assignments: UnsafeBufferPointer(start: batch.assignments.base, count: rows * topK),
                outputs: batch.expertOutputs.base))
        batch.dispatchedLayer = index
    }

    /// hidden += Σ routing weight · expert(RMSNorm(hidden)), in rank order, once the experts have been at it.
    private func collect(_ batch: MicroBatch, _ experts: any ExpertExecutor) throws {
        guard let index = batch.dispatchedLayer else { return }
        batch.dispatchedLayer = nil
        try experts.finish()
        observeExperts(index, batch)

        let (topK, format) = (config.expertsPerToken, format)
        pool.run(batch.rows.count) { row in
            let hidden = batch.hidden.row(row)
            let weights = batch.routingWeights.base + row * topK
            let outputs = UnsafeRawPointer(batch.expertOutputs.base) + row * topK * format.outputBytes
            switch precision {
            case .int8, .bf16:
                kernels.pointee.combine_bf16(
                    hidden, outputs.assumingMemoryBound(to: UInt16.self), weights, topK, config.hiddenSize, hidden)
            case .exact:
                kernels.pointee.combine_f32(
                    hidden, outputs.assumingMemoryBound(to: Float.self), weights, topK, config.hiddenSize, hidden)
            }
        }
        observe(.hidden, layer: index, batch.hidden.values, rows: batch.rows.count)
    }

    /// logits = outputHead(RMSNorm(hidden)) of the rows that are left
    private func applyOutputHead() {
        selected.resize(rows: microBatches.reduce(0) { $0 + $1.rows.count })
        var index = 0
        for batch in microBatches {
            selected.row(index).update(from: batch.hidden.row(0), count: batch.rows.count * config.hiddenSize)
            index += batch.rows.count
        }
        normalize(selected, finalNorm, into: selected, outputHead.form)
        observe(.finalNorm, layer: 0, selected.values, rows: selected.rows)
        logits.reserve(selected.rows * config.vocabularySize)
        if selected.rows > 0 { outputHead.apply(to: selected, into: logits.base, kernels, pool) }
    }
}
