import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

/// Agreement with Hugging Face transformers, within the tolerances of the fixtures' README.
@Suite struct ReferenceTests {
    @Test("fixtures were found, and all of them can be read") func fixturesExist() {
        #expect(!Reference.all.isEmpty && Reference.all.count == Fixtures.models.count)
    }

    @Test("exact precision: logits, log-probabilities, hidden states and every expert choice", arguments: Reference.all)
    func exact(reference: Reference) throws {
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .exact, threads: 2)
        let vocabulary = reference.config.vocabularySize
        for prompt in reference.prompts {
            let recorder = Recorder()
            let logits = try model.run(prompt.tokens, observer: recorder)
            let stored = try #require(try prompt.tensor("logits"))
            for (index, position) in prompt.logitsPositions.enumerated() {
                let difference = greatestDifference(
                    logits[position * vocabulary..<(position + 1) * vocabulary],
                    stored[index * vocabulary..<(index + 1) * vocabulary])
                #expect(difference <= 5e-4, "\(prompt.id) logits at \(position)")
            }
            let rows = (0..<prompt.tokens.count).map { logits[$0 * vocabulary..<($0 + 1) * vocabulary] }
            #expect(rows.map { argmax($0) } == prompt.argmax)
            if let expected = try prompt.tensor("prompt_logprobs") {
                for (position, value) in expected.enumerated() {
                    let found = logSoftmax(rows[position])[Int(prompt.tokens[position + 1])]
                    #expect(abs(found - Double(value)) <= 5e-4, "\(prompt.id) log-probability after \(position)")
                }
            }
            for (layer, positions) in prompt.experts.enumerated() {
                #expect(recorder.experts[layer] == positions.flatMap { $0 }, "\(prompt.id) experts of layer \(layer)")
            }
            try checkHiddenStates(prompt, recorder)
        }
    }

    private func checkHiddenStates(_ prompt: Reference.Prompt, _ recorder: Recorder) throws {
        let config = prompt.reference.config
        let expected = try #require(try prompt.tensor("hidden_last"))
        let found =
            [recorder[.embedding]] + (0..<config.layerCount).map { recorder[.hidden, $0] } + [recorder[.finalNorm]]
        for (index, rows) in found.enumerated() {
            let row = rows.suffix(config.hiddenSize)
            let wanted = expected[index * config.hiddenSize..<(index + 1) * config.hiddenSize]
            #expect(isClose(row, wanted), "\(prompt.id) hidden state \(index)")
        }
    }

    @Test("exact precision: greedy decoding, one token at a time", arguments: Reference.all)
    func greedy(reference: Reference) throws {
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .exact, threads: 1)
        let experts = model.makeLocalExperts()
        for prompt in reference.prompts {
            let cache = try model.makeCache()
            var tokens: [Int32] = []
            var next = prompt.tokens
            while tokens.count < prompt.greedy.count {
                let token = try model.forward([cache.segment(next, logits: .last)], experts: experts) {
                    argmax($0)
                }
                tokens.append(token)
                next = [token]
            }
            #expect(tokens == prompt.greedy, "\(prompt.id)")
        }
    }

    @Test("exact precision: every step inside the first layers", arguments: Reference.all)
    func traces(reference: Reference) throws {
        let trace = try #require(reference.json["trace"])
        let prompt = try #require(reference.prompts.first { $0.id == trace["prompt"]?.string })
        // One thread, so that the softmax can be observed too.
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .exact, threads: 1)
        let recorder = Recorder()
        var gateUp: [[Int: [Float]]] = Array(repeating: [:], count: reference.config.layerCount)
        _ = try model.run(prompt.tokens, observer: recorder) { layer, slot, values in
            gateUp[layer][slot] = Array(values)
        }
        let observations: [(String, Observation)] = [
            ("attn_in", .attentionInput), ("q", .query), ("k", .key), ("v", .value), ("attn_heads", .attentionHeads),
            ("attn_out", .attentionOutput), ("mlp_in", .expertInput), ("router_logits", .routerLogits),
            ("hidden", .hidden),
        ]
        for (name, fields) in try #require(trace["layers"]?.object).members.map({ ($0.name, $0.value) }) {
            let layer = try #require(Int(name))
            for (field, observation) in observations {
                let expected = try reference.tensor(try #require(fields[field]?.string))
                #expect(isClose(recorder[observation, layer], expected), "layer \(layer) \(field)")
            }
            let wanted = try reference.tensor(try #require(fields["gate_up"]?.string))
            let found = gateUp[layer].sorted { $0.key < $1.key }.flatMap(\.value)
            #expect(isClose(found, wanted), "layer \(layer) gate_up")

            let before = layer == 0 ? recorder[.embedding] : recorder[.hidden, layer - 1]
            let after = recorder[.hidden, layer]
            let attention = recorder[.attentionOutput, layer]
            let experts = after.indices.map { after[$0] - before[$0] - attention[$0] }
            #expect(
                isClose(experts, try reference.tensor(try #require(fields["mlp_out"]?.string))),
                "layer \(layer) mlp_out")
            try checkProbabilities(reference, fields, layer, recorder, prompt.tokens.count)
        }
    }

    private func checkProbabilities(
        _ reference: Reference, _ fields: JSONValue, _ layer: Int, _ recorder: Recorder, _ length: Int
    ) throws {
        let expected = try reference.tensor(try #require(fields["probs"]?.string))
        let expectedSinks = try reference.tensor(try #require(fields["sink_prob"]?.string))
        let heads = reference.config.headCount
        let window = reference.config.layerTypes[layer] == .slidingAttention ? reference.config.slidingWindow : length
        var seen = recorder[.attentionProbabilities, layer][...]
        let sinks = recorder[.sinkProbabilities, layer]
        for position in 0..<length {
            let first = max(0, position - window + 1)
            for head in 0..<heads {
                let row = expected[(head * length + position) * length..<(head * length + position + 1) * length]
                let visible = seen.prefix(position - first + 1)
                seen = seen.dropFirst(visible.count)
                #expect(row.prefix(first).allSatisfy { $0 == 0 } && row.dropFirst(position + 1).allSatisfy { $0 == 0 })
                // The reference's rows add up to 1 - sink_prob.
                #expect(
                    isClose(visible, row.dropFirst(first).prefix(visible.count)), "layer \(layer) probs \(position)")
                #expect(abs(sinks[position * heads + head] - expectedSinks[head * length + position]) <= 1e-3)
            }
        }
        #expect(seen.isEmpty)
    }

    @Test(
        "int8 precision: within the tolerance of int8 activations", arguments: Reference.all, DenseWeights.allCases)
    func int8(reference: Reference, weights: DenseWeights) throws {
        let model = try Transformer(
            checkpoint: reference.checkpoint, precision: .int8, denseWeights: weights, threads: 2)
        let found = try distance(of: model, from: reference)
        #expect(found.logits <= 0.2)
        #expect(found.logprobs <= 0.2)
        #expect(found.equalExperts >= 0.93)
        #expect(found.equalArgmax >= 0.85)
    }

    @Test("bf16 precision: within the tolerance of bfloat16 activations", arguments: Reference.all)
    func bf16(reference: Reference) throws {
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .bf16, threads: 2)
        let found = try distance(of: model, from: reference)
        // The divergence that KVFormatTests prints is a tenth of int8's. It follows the square of the logits' differences,
        // so these are a third of int8's.
        #expect(found.logits <= 0.2 / 3)
        #expect(found.logprobs <= 0.2 / 3)
        #expect(found.equalExperts >= 0.99)
        #expect(found.equalArgmax >= 0.95)
    }

    /// Means of the differences of logits and of prompt log-probabilities; shares of expert sets and of greatest logits
    /// that are the reference's.
    private struct Distance {
        let logits, logprobs, equalExperts, equalArgmax: Double
    }

    private func distance(of model: Transformer, from reference: Reference) throws -> Distance {
        let vocabulary = reference.config.vocabularySize
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }
        var (logitDifferences, logprobDifferences) = ([Double](), [Double]())
        var (sets, equalSets, positions, equalArgmax) = (0, 0, 0, 0)
        for prompt in reference.prompts {
            let recorder = Recorder()
            let logits = try model.run(prompt.tokens, observer: recorder)
            let rows = (0..<prompt.tokens.count).map { logits[$0 * vocabulary..<($0 + 1) * vocabulary] }
            let stored = try #require(try prompt.tensor("logits"))
            for (index, position) in prompt.logitsPositions.enumerated() {
                let wanted = stored[index * vocabulary..<(index + 1) * vocabulary]
                logitDifferences += zip(rows[position], wanted).map { Double(abs($0 - $1)) }
            }
            for (position, value) in (try prompt.tensor("prompt_logprobs") ?? []).enumerated() {
                let found = logSoftmax(rows[position])[Int(prompt.tokens[position + 1])]
                logprobDifferences.append(abs(found - Double(value)))
            }
            for (layer, chosen) in prompt.experts.enumerated() {
                let topK = reference.config.expertsPerToken
                for (position, wanted) in chosen.enumerated() {
                    sets += 1
                    let found = recorder.experts[layer][position * topK..<(position + 1) * topK]
                    if Set(found) == Set(wanted) { equalSets += 1 }
                }
            }
            for (row, wanted) in zip(rows, prompt.argmax) {
                positions += 1
                if argmax(row) == wanted { equalArgmax += 1 }
            }
        }
        return Distance(
            logits: mean(logitDifferences), logprobs: mean(logprobDifferences),
            equalExperts: Double(equalSets) / Double(sets), equalArgmax: Double(equalArgmax) / Double(positions))
    }

    @Test("YaRN frequencies and attention scaling", arguments: Reference.all)
    func rotaryEmbedding(reference: Reference) throws {
        let rotary = RotaryEmbedding(config: reference.config)
        let expected = try reference.tensor(try #require(reference.json["rope"]?["inv_freq"]?.string))
        #expect(rotary.inverseFrequencies.count == expected.count)
        for (found, wanted) in zip(rotary.inverseFrequencies, expected) { #expect(abs(found / wanted - 1) < 1e-6) }
        let scaling = try #require(reference.json["rope"]?["attention_scaling"]?.double)
        #expect(abs(Double(rotary.attentionScaling) - scaling) < 1e-6)
    }
}

/// Within 1e-3 of the greater of 1 and the reference's root mean square.
private func isClose(_ found: some Collection<Float>, _ wanted: some Collection<Float>) -> Bool {
    let square = wanted.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(max(1, wanted.count))
    return Double(greatestDifference(found, wanted)) <= 1e-3 * max(1, square.squareRoot())
}

extension Transformer {
    /// All logits of a prompt given at once, computed in this process.
    func run(
        _ tokens: [Int32], kvFormat: KVFormat? = nil, observer: (any ForwardObserver)? = nil,
        gateUp: ((Int, Int, UnsafeBufferPointer<Float>) -> Void)? = nil
    ) throws -> [Float] {
        self.observer = observer
        defer { self.observer = nil }
        let experts = makeLocalExperts()
        experts.gateUpObserver = gateUp
        let segment = try makeCache(format: kvFormat).segment(tokens, logits: .all)
        return try forward([segment], experts: experts) { Array($0) }
    }
}
