import Checkpoints
import Kernels

extension Transformer {
    /// One forward pass over all segments together. Calls `body` with the logits [selected positions][vocabularySize],
    /// segment by segment; the memory is valid during the call. What a token's row becomes depends on nothing but the
    /// tokens before it in its own sequence: not on the batch, the threads or the executor.
    ///
    /// It writes the segments' own positions in their pages and nothing else: when it throws, it can be repeated.
    /// - Throws: ``ModelError`` for a segment whose pages do not cover what it reads and writes; what `experts` or `body`
    ///   throws.
    public func forward<Result>(
        _ segments: [Segment], experts: any ExpertExecutor,
        _ body: (_ logits: UnsafeMutableBufferPointer<Float>) throws -> Result
    ) throws -> Result {
        for segment in segments { try segment.check(config) }
        let rows = scratch.rows(of: segments)
        scratch.resize(rows: rows.count, config, format)
        try experts.beginStep()

        embed(segments)
        rotate(rows)
        for layer in layers {
            attend(rows, layer)
            try runExperts(rows, layer, experts)
        }
        selectLogits(segments)
        return try body(
            UnsafeMutableBufferPointer(
                start: scratch.logits.base, count: scratch.selected.rows * config.vocabularySize))
    }

    private var format: ExpertRowFormat { ExpertRowFormat(precision: precision, hiddenSize: config.hiddenSize) }

    /// hidden = embedding[token]
    private func embed(_ segments: [Segment]) {
        for (row, token) in segments.lazy.flatMap(\.tokens).enumerated() {
            kernels.pointee.bf16_to_f32(
                embedding + Int(token) * config.hiddenSize, config.hiddenSize, scratch.hidden.row(row))
        }
        observe(.embedding, layer: 0, scratch.hidden.values, rows: scratch.hidden.rows)
    }

    /// The cosines and sines of every row's position, for all layers.
    private func rotate(_ rows: [Row]) {
        let half = config.headDimension / 2
        pool.run(rows.count) { row in
            rotary.write(
                position: rows[row].position, cosines: scratch.cosines.base + row * half,
                sines: scratch.sines.base + row * half)
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

    /// hidden += output(attention(RMSNorm(hidden)))
    private func attend(_ rows: [Row], _ layer: Layer) {
        let (attention, index) = (layer.attention, layer.attention.layer)
        normalize(scratch.hidden, layer.inputNorm, into: scratch.normed, attention.queryKeyValue.form)
        observe(.attentionInput, layer: index, scratch.normed.values, rows: rows.count)

        attention.queryKeyValue.apply(to: scratch.normed, into: scratch.projected.base, kernels, pool)
        attention.rotateAndStore(
            rows, projected: scratch.projected.base, cosines: scratch.cosines.base, sines: scratch.sines.base, config,
            kernels, pool)
        attention.attend(
            rows, projected: scratch.projected.base, attended: scratch.attended, scratch: scratch.scores, config,
            kernels, pool, seen: probabilityObserver(index))
        pool.run(rows.count) { scratch.attended.convert(row: $0, to: attention.output.form, kernels) }
        attention.output.apply(to: scratch.attended, into: scratch.blockOutput.base, kernels, pool)
        observeAttention(index, rows: rows.count)

        pool.run(rows.count) { row in
            var one: Float = 1
            kernels.pointee.combine_f32(
                scratch.hidden.row(row), scratch.blockOutput.base + row * config.hiddenSize, &one, 1,
                config.hiddenSize, scratch.hidden.row(row))
        }
    }

    /// hidden += Σ routing weight · expert(RMSNorm(hidden)), in rank order
    private func runExperts(_ rows: [Row], _ layer: Layer, _ experts: any ExpertExecutor) throws {
        let (index, topK, format) = (layer.attention.layer, config.expertsPerToken, format)
        normalize(scratch.hidden, layer.postAttentionNorm, into: scratch.normed, precision == .int8 ? .int8 : .float32)
        observe(.expertInput, layer: index, scratch.normed.values, rows: rows.count)

        layer.router.linear.apply(to: scratch.normed, into: scratch.routerLogits.base, kernels, pool)
        for row in 0..<rows.count {
            layer.router.choose(
                logits: scratch.routerLogits.base + row * config.expertCount, experts: scratch.chosen.base + row * topK,
                weights: scratch.routingWeights.base + row * topK)
        }
        for slot in 0..<rows.count * topK {
            scratch.assignments.base[slot] = ExpertAssignment(
                row: Int32(slot / topK), expert: scratch.chosen.base[slot], slot: Int32(slot))
        }
        try experts.run(
            ExpertBatch(
                layer: index, rowCount: rows.count,
                values: precision == .int8
                    ? UnsafeRawPointer(scratch.normed.int8Row(0)) : UnsafeRawPointer(scratch.normed.row(0)),
                scales: scratch.normed.scalesRow(0),
                assignments: UnsafeBufferPointer(start: scratch.assignments.base, count: rows.count * topK),
                outputs: scratch.expertOutputs.base))
        observeExperts(index, rows: rows.count)

        pool.run(rows.count) { row in
            let hidden = scratch.hidden.row(row)
            let weights = scratch.routingWeights.base + row * topK
            let outputs = UnsafeRawPointer(scratch.expertOutputs.base) + row * topK * format.outputBytes
            switch precision {
            case .int8:
                kernels.pointee.combine_bf16(
                    hidden, outputs.assumingMemoryBound(to: UInt16.self), weights, topK, config.hiddenSize, hidden)
            case .exact:
                kernels.pointee.combine_f32(
                    hidden, outputs.assumingMemoryBound(to: Float.self), weights, topK, config.hiddenSize, hidden)
            }
        }
        observe(.hidden, layer: index, scratch.hidden.values, rows: rows.count)
    }

    /// logits = outputHead(RMSNorm(hidden)) of the selected rows alone
    private func selectLogits(_ segments: [Segment]) {
        var wanted: [Int] = []
        var first = 0
        for segment in segments {
            let end = first + segment.tokens.count
            switch segment.logits {
            case .none: break
            case .last: wanted.append(end - 1)
            case .all: wanted.append(contentsOf: first..<end)
            }
            first = end
        }
        scratch.selected.resize(rows: wanted.count)
        for (index, row) in wanted.enumerated() {
            scratch.selected.row(index).update(from: scratch.hidden.row(row), count: config.hiddenSize)
        }
        normalize(scratch.selected, finalNorm, into: scratch.selected, outputHead.form)
        observe(.finalNorm, layer: 0, scratch.selected.values, rows: wanted.count)
        scratch.logits.reserve(wanted.count * config.vocabularySize)
        if !wanted.isEmpty { outputHead.apply(to: scratch.selected, into: scratch.logits.base, kernels, pool) }
    }
}
