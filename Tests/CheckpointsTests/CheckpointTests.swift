import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing

@Suite("A checkpoint")
struct CheckpointTests {
    /// A small sound one in two files and with an index, to be spoiled.
    private static func sound() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        var synthesis = Synthesis(.tiny)
        synthesis.config.vocabularySize = 300
        synthesis.config.hiddenSize = 64
        synthesis.config.intermediateSize = 32
        synthesis.layerCount = 2
        synthesis.maximumFileSize = 100_000
        try synthesis.write(to: folder.url)
        return folder
    }

    private static let index = "model.safetensors.index.json"
    private static let norm = "model.norm.weight"

    private func refusal(_ folder: TemporaryFolder) -> String {
        do {
            _ = try Checkpoint(directory: folder.url)
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    /// Replaces a text by another of the same length in every file that has it.
    private func replace(_ text: String, _ replacement: String, in folder: TemporaryFolder) throws {
        try #require(text.utf8.count == replacement.utf8.count)
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.url.path) where name.contains("model") {
            var data = try folder.data(name)
            while let range = data.firstRange(of: Data(text.utf8)) {
                data.replaceSubrange(range, with: replacement.utf8)
            }
            try folder.write(data, to: name)
        }
    }

    private func weightMap(_ folder: TemporaryFolder, _ changes: [String: JSONValue?]) throws {
        var map = try #require(folder.json(Self.index)["weight_map"]?.object)
        for (name, value) in changes { map[name] = value }
        try folder.change(Self.index, ["weight_map": .object(map)])
    }

    @Test("keeps its tensors readable after it is gone")
    func lifetime() throws {
        let folder = try Self.sound()
        let norm = try Checkpoint(directory: folder.url).finalNorm
        #expect(contents(norm).count == 128)
        #expect(contents(norm).contains { $0 != 0 })
    }

    @Test("may consist of links, as the hub's cache does")
    func links() throws {
        let blobs = try Self.sound()
        let snapshot = try TemporaryFolder()
        for name in try FileManager.default.contentsOfDirectory(atPath: blobs.url.path) {
            try FileManager.default.createSymbolicLink(
                at: snapshot.url.appending(path: name), withDestinationURL: blobs.url.appending(path: name))
        }
        #expect(refusal(snapshot) == "accepted")
    }

    @Test("is refused when a tensor is missing")
    func missing() throws {
        let folder = try Self.sound()
        try replace(Self.norm, "model.Norm.weight", in: folder)
        #expect(
            refusal(folder) == #"model.safetensors.index.json: tensor "model.norm.weight": found nothing, "#
                + "expected BF16 of shape [64], by config.json")
    }

    @Test("is refused when a tensor's shape is not the config's")
    func shape() throws {
        let folder = try Self.sound()
        try folder.change("config.json", ["num_local_experts": 4])
        let message = refusal(folder)
        #expect(message.contains(#".safetensors: tensor "model.layers.0.mlp."#))
        #expect(message.contains("found shape [8, "))
        #expect(message.contains("expected [4, "))
    }

    @Test("is refused when a tensor's type is not what it must be")
    func elementType() throws {
        let folder = try Self.sound()
        try replace(#""dtype":"BF16""#, #""dtype":"F16" "#, in: folder)
        #expect(refusal(folder).contains(#"tensor "model.embed_tokens.weight": found F16, expected BF16"#))
    }

    @Test("is refused when a tensor is not aligned for its elements")
    func unaligned() throws {
        let folder = try Self.sound()
        // One byte more of header moves all data by one.
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.url.path)
        where name.hasSuffix(".safetensors") {
            var data = try folder.data(name)
            let length = data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            data.insert(UInt8(ascii: " "), at: 8 + length)
            data.replaceSubrange(0..<8, with: withUnsafeBytes(of: UInt64(length + 1).littleEndian) { Data($0) })
            try folder.write(data, to: name)
        }
        #expect(refusal(folder).contains(#"tensor "model.embed_tokens.weight": found data at byte "#))
        #expect(refusal(folder).contains("expected an address that is a multiple of 2, for BF16"))
    }

    @Test("is refused when a file was cut short")
    func truncated() throws {
        let folder = try Self.sound()
        let name = try #require(folder.json(Self.index)["weight_map"]?[Self.norm]?.string)
        try folder.write(folder.data(name).dropLast(), to: name)
        #expect(refusal(folder).hasPrefix("\(name): tensor "))
        #expect(refusal(folder).contains("the file may be truncated"))
        try folder.write(Data(), to: name)
        #expect(refusal(folder).contains("\(name): found an empty file"))
    }

    @Test(
        "is refused when the index leads out of its folder",
        arguments: ["../x", "/etc/passwd", "..", "a\\b", "", "a/b"])
    func escape(name: String) throws {
        let folder = try Self.sound()
        try weightMap(folder, [Self.norm: .string(name)])
        #expect(
            refusal(folder) == #"model.safetensors.index.json: tensor "model.norm.weight": found file "#
                + "\(JSONValue.string(name).serialized), expected the plain name of a file in the same folder")
    }

    @Test("is refused when index and files disagree")
    func disagreement() throws {
        let folder = try Self.sound()
        let first = try #require(folder.json(Self.index)["weight_map"]?["model.embed_tokens.weight"]?.string)
        let last = try #require(folder.json(Self.index)["weight_map"]?[Self.norm]?.string)
        try weightMap(folder, [Self.norm: .string(first)])
        #expect(
            refusal(folder)
                == "\(last): tensor \"\(Self.norm)\": found it here, expected it in \"\(first)\", as \(Self.index) says"
        )
        try weightMap(folder, [Self.norm: nil])
        #expect(refusal(folder).contains("found it here, expected every tensor to be listed in \(Self.index)"))
        try weightMap(folder, [Self.norm: .string(last), "extra": .string(first)])
        #expect(refusal(folder) == "\(first): tensor \"extra\": found nothing, expected it here, as \(Self.index) says")
        try weightMap(folder, ["extra": .string("gone.safetensors")])
        #expect(refusal(folder).contains("gone.safetensors: cannot open: No such file or directory"))
        try folder.change(Self.index, ["weight_map": 4])
        #expect(refusal(folder).contains(#"field "weight_map": found 4, expected an object"#))
    }

    @Test("is refused when a file is none")
    func notAFile() throws {
        let folder = try TemporaryFolder()
        #expect(refusal(folder).contains("config.json: cannot open: No such file or directory"))
        try folder.write(ModelConfigTests.hub, to: "config.json")
        #expect(refusal(folder).contains("model.safetensors: cannot open: No such file or directory"))
        #expect(mkfifo(folder.url.appending(path: "model.safetensors").path, 0o600) == 0)
        #expect(refusal(folder).contains("model.safetensors: found an empty file or no file at all"))
    }

    @Test("may hold tensors that are not used, and says so")
    func unused() throws {
        let folder = try TemporaryFolder(
            copyOf: #require(
                Fixtures.models.first { model in
                    FileManager.default.fileExists(atPath: model.appending(path: "model.safetensors").path)
                }))
        var data = try folder.data("model.safetensors")
        let length = data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        var header = try #require(JSONValue(parsing: data[8..<8 + length]).object)
        let size = data.count - 8 - length
        header["extra"] = ["dtype": "F32", "shape": [1], "data_offsets": [JSONValue(size), JSONValue(size + 4)]]
        data = safetensors(JSONValue.object(header).serialized + " ", data: 0) + data[(8 + length)...] + Data(count: 4)
        try folder.write(data, to: "model.safetensors")
        let inspection = Inspection(directory: folder.url, cache: .none)
        #expect(inspection.tensors.filter { !$0.isUsed }.map(\.name) == ["extra"])
    }
}
