public import Checkpoints
import Foundation
public import JSON

/// A fixture model with what the reference implementation computed for it.
public struct Reference: CustomStringConvertible, Sendable {
    /// The model.
    public let checkpoint: Checkpoint
    /// The content of reference.json.
    public let json: JSONValue
    private let data: Data

    /// Every fixture model that can be read.
    public static let all: [Reference] = Fixtures.models.compactMap { try? Reference($0) }

    private init(_ folder: URL) throws {
        checkpoint = try Checkpoint(directory: folder)
        json = try Fixtures.json(folder.appending(path: "ref/reference.json"))
        data = try Data(contentsOf: folder.appending(path: "ref/reference.bin"))
    }

    /// The name of the folder.
    public var name: String { checkpoint.directory.lastPathComponent }
    /// The name.
    public var description: String { name }
    /// The model's dimensions.
    public var config: ModelConfig { checkpoint.config }
    /// What reference.json holds of each prompt.
    public var prompts: [Prompt] { json["prompts"]?.array?.map { Prompt(reference: self, json: $0) } ?? [] }

    /// A tensor of reference.bin.
    public func tensor(_ name: String) throws -> [Float] {
        guard let entry = json["tensors"]?[name], let offset = entry["offset"]?.integer,
            let shape = entry["shape"]?.array
        else { throw MissingTensor(name: name) }
        let count = shape.reduce(1) { $0 * ($1.integer ?? 0) }
        return data.withUnsafeBytes { bytes in
            (0..<count).map { bytes.loadUnaligned(fromByteOffset: offset + $0 * 4, as: Float.self) }
        }
    }

    /// Random tokens of the model.
    public func randomTokens(_ count: Int, using generator: inout SeededGenerator) -> [Int32] {
        (0..<count).map { _ in .random(in: 0..<Int32(config.vocabularySize), using: &generator) }
    }

    /// One prompt of reference.json.
    public struct Prompt {
        /// Whose prompt it is.
        public let reference: Reference
        /// Its fields.
        public let json: JSONValue

        /// Its name.
        public var id: String { json["id"]?.string ?? "" }
        /// The prompt itself.
        public var tokens: [Int32] { integers(json["ids"]) }
        /// What greedy decoding goes on with.
        public var greedy: [Int32] { integers(json["greedy"]?["ids"]) }

        /// The tensor that a field names; nil where there is no such field.
        public func tensor(_ field: String) throws -> [Float]? {
            try json[field]?.string.map { try reference.tensor($0) }
        }
    }

    private struct MissingTensor: Error {
        let name: String
    }
}

/// The integers of an array; of anything else none.
public func integers(_ value: JSONValue?) -> [Int32] { value?.array?.compactMap { $0.integer.map(Int32.init) } ?? [] }
