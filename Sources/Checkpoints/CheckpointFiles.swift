internal import Foundation
internal import JSON

/// The safetensors files of a checkpoint: mapped, and each sound by itself and against the index.
struct CheckpointFiles: Sendable {
    /// Where a tensor lies.
    struct Location: Sendable {
        let entry: SafetensorsHeader.Entry
        let file: MappedFile
    }

    /// In order of name.
    let files: [MappedFile]
    let tensors: [String: Location]

    static let indexName = "model.safetensors.index.json"
    static let singleName = "model.safetensors"

    init(directory: URL) throws {
        let index = directory.appending(path: Self.indexName)
        let isIndexed = FileManager.default.fileExists(atPath: index.path)
        let weightMap = isIndexed ? try Self.weightMap(index) : nil
        let names = weightMap.map { Set($0.values).sorted() } ?? [Self.singleName]

        var files: [MappedFile] = []
        var tensors: [String: Location] = [:]
        for name in names {
            let file = try MappedFile(directory.appending(path: name))
            files.append(file)
            let header = try SafetensorsHeader(parsing: file.bytes, fileSize: file.bytes.count, file: name)
            for entry in header.entries {
                if let weightMap, weightMap[entry.name] != name {
                    throw CheckpointError(
                        name, tensor: entry.name, found: "it here",
                        expected: weightMap[entry.name].map { "it in \(shown($0)), as \(Self.indexName) says" }
                            ?? "every tensor to be listed in \(Self.indexName)")
                }
                // Swift takes names for equal that differ in Unicode composition; JSON does not.
                guard tensors.updateValue(Location(entry: entry, file: file), forKey: entry.name) == nil else {
                    throw CheckpointError(name, tensor: entry.name, found: "it twice", expected: "each name once")
                }
            }
        }
        if let lost = weightMap?.first(where: { tensors[$0.key] == nil }) {
            throw CheckpointError(
                lost.value, tensor: lost.key, found: "nothing", expected: "it here, as \(Self.indexName) says")
        }
        self.files = files
        self.tensors = tensors
    }

    /// The index: which file holds which tensor. A file's name must not lead out of the folder; the file itself may be
    /// a link, because the hub's cache consists of them.
    private static func weightMap(_ index: URL) throws -> [String: String] {
        let value = try readJSON(index)
        guard let members = value["weight_map"]?.object?.members, !members.isEmpty else {
            throw CheckpointError(
                indexName, field: "weight_map", found: shown(value["weight_map"]),
                expected: "an object that gives each tensor its file")
        }
        var map: [String: String] = [:]
        for member in members {
            guard let name = member.value.string, !name.isEmpty, name != ".", name != "..",
                !name.utf8.contains(where: { [0, UInt8(ascii: "/"), UInt8(ascii: "\\")].contains($0) })
            else {
                throw CheckpointError(
                    indexName, tensor: member.name, found: "file \(shown(member.value))",
                    expected: "the plain name of a file in the same folder")
            }
            guard map.updateValue(name, forKey: member.name) == nil else {
                throw CheckpointError(indexName, tensor: member.name, found: "it twice", expected: "each name once")
            }
        }
        return map
    }

    /// The tensor of that name.
    /// - Throws: ``CheckpointError`` when it is missing, or has another type or shape.
    func tensor(_ slot: TensorSlot, _ config: ModelConfig) throws -> Tensor {
        let name = slot.name
        guard let location = tensors[name] else {
            let place = files.count == 1 ? files.first?.name ?? indexName : indexName
            throw CheckpointError(
                place, tensor: name, found: "nothing",
                expected: "\(slot.role.elementType.rawValue) of shape \(slot.role.shape(config)), by config.json")
        }
        let entry = location.entry
        let type = slot.role.elementType
        let shape = slot.role.shape(config)
        guard entry.elementType == type.rawValue else {
            throw CheckpointError(
                location.file.name, tensor: name, found: entry.elementType, expected: type.rawValue)
        }
        guard entry.shape == shape else {
            throw CheckpointError(
                location.file.name, tensor: name, found: "shape \(shown(entry.shape))",
                expected: "\(shape), by config.json")
        }
        guard entry.range.lowerBound.isMultiple(of: type.size) else {
            throw CheckpointError(
                location.file.name, tensor: name, found: "data at byte \(entry.range.lowerBound) of the file",
                expected: "an address that is a multiple of \(type.size), for \(type.rawValue)")
        }
        return Tensor(name: name, elementType: type, shape: shape, range: entry.range, of: location.file)
    }

    /// Bytes of all files together.
    var totalSize: Int { files.reduce(0) { $0 + $1.identity.size } }

    private var indexName: String { Self.indexName }
}
