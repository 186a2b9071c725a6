import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing
import Transformer

/// A fixture model with what the reference implementation computed for it.
struct Reference: CustomStringConvertible, Sendable {
    let name: String
    let checkpoint: Checkpoint
    let json: JSONValue
    private let data: Data

    static let all: [Reference] = Fixtures.models.compactMap { try? Reference($0) }

    init(_ folder: URL) throws {
        name = folder.lastPathComponent
        checkpoint = try Checkpoint(directory: folder)
        json = try Fixtures.json(folder.appending(path: "ref/reference.json"))
        data = try Data(contentsOf: folder.appending(path: "ref/reference.bin"))
    }

    var description: String { name }
    var config: ModelConfig { checkpoint.config }

    /// A tensor of reference.bin.
    func tensor(_ name: String) throws -> [Float] {
        let entry = try #require(json["tensors"]?[name])
        let offset = try #require(entry["offset"]?.integer)
        let count = try #require(entry["shape"]?.array).reduce(1) { $0 * ($1.integer ?? 0) }
        return data.withUnsafeBytes { bytes in
            (0..<count).map { bytes.loadUnaligned(fromByteOffset: offset + $0 * 4, as: Float.self) }
        }
    }

    var prompts: [Prompt] { json["prompts"]?.array?.map { Prompt(reference: self, json: $0) } ?? [] }

    /// One prompt of reference.json.
    struct Prompt {
        let reference: Reference
        let json: JSONValue

        var id: String { json["id"]?.string ?? "" }
        var tokens: [Int32] { integers(json["ids"]) }
        var logitsPositions: [Int] { integers(json["logits_positions"]).map(Int.init) }
        var argmax: [Int32] { integers(json["argmax"]) }
        var greedy: [Int32] { integers(json["greedy"]?["ids"]) }
        /// [layer][position][rank]
        var experts: [[[Int32]]] {
            json["router_experts"]?.array?.map { $0.array?.map { integers($0) } ?? [] } ?? []
        }
        func tensor(_ field: String) throws -> [Float]? {
            try json[field]?.string.map { try reference.tensor($0) }
        }
    }
}

func integers(_ value: JSONValue?) -> [Int32] { value?.array?.compactMap { $0.integer.map(Int32.init) } ?? [] }

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
