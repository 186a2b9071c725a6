import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

extension Reference.Prompt {
    var logitsPositions: [Int] { integers(json["logits_positions"]).map(Int.init) }
    var argmax: [Int32] { integers(json["argmax"]) }
    /// [layer][position][rank]
    var experts: [[[Int32]]] {
        json["router_experts"]?.array?.map { $0.array?.map { integers($0) } ?? [] } ?? []
    }
}

/// Keeps what a forward pass shows.
final class Recorder: ForwardObserver {
    private(set) var values: [Key: [Float]] = [:]
    /// [layer][row * expertsPerToken + rank]
    private(set) var experts: [[Int32]] = []

    struct Key: Hashable {
        let observation: Observation
        let layer: Int
    }

    func observe(_ observation: Observation, layer: Int, values: UnsafeBufferPointer<Float>, rows: Int) {
        self.values[Key(observation: observation, layer: layer), default: []].append(contentsOf: values)
    }

    func observe(experts: UnsafeBufferPointer<Int32>, layer: Int, rows: Int) {
        while self.experts.count <= layer { self.experts.append([]) }
        self.experts[layer].append(contentsOf: experts)
    }

    subscript(_ observation: Observation, layer: Int = 0) -> [Float] {
        values[Key(observation: observation, layer: layer)] ?? []
    }
}

/// Natural log-probabilities of logits, in double precision.
func logSoftmax(_ logits: ArraySlice<Float>) -> [Double] {
    let maximum = Double(logits.max() ?? 0)
    let sum = logits.reduce(0.0) { $0 + exp(Double($1) - maximum) }
    return logits.map { Double($0) - maximum - log(sum) }
}

func greatestDifference(_ a: some Collection<Float>, _ b: some Collection<Float>) -> Float {
    a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
}

/// Where the greatest value stands, the first of equals.
func argmax(_ values: some RandomAccessCollection<Float>) -> Int32 {
    var best = values.startIndex
    for index in values.indices where values[index] > values[best] { best = index }
    return Int32(values.distance(from: values.startIndex, to: best))
}
