import Checkpoints
import Foundation
import TestSupport
import Testing

@Suite("A safetensors header")
struct SafetensorsHeaderTests {
    private func parse(_ data: Data, fileSize: Int? = nil) throws -> SafetensorsHeader {
        try data.withUnsafeBytes {
            try SafetensorsHeader(parsing: $0, fileSize: fileSize ?? data.count, file: "x.safetensors")
        }
    }

    private func refusal(_ data: Data, fileSize: Int? = nil) -> String {
        do {
            _ = try parse(data, fileSize: fileSize)
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    private static let sound =
        #"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"#
        + #""data_offsets":[0,12]},"b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}}   "#

    @Test("yields its tensors in the order of the file")
    func sound() throws {
        let header = try parse(safetensors(Self.sound, data: 16))
        let start = 8 + Self.sound.utf8.count
        #expect(header.entries.map(\.name) == ["a", "b"])
        #expect(header.entries.map(\.shape) == [[2, 3], [4]])
        #expect(header.entries.map(\.range) == [start..<start + 12, start + 12..<start + 16])
    }

    @Test("is refused when its length is absurd")
    func length() {
        let length = { (value: UInt64) in withUnsafeBytes(of: value.littleEndian) { Data($0) } + Data(count: 8) }
        for absurd in [0, 1, 100_000_001, 1 << 63, UInt64.max] {
            #expect(
                refusal(length(absurd)).contains("x.safetensors: found a header length of \(absurd) bytes, expected"))
        }
        #expect(refusal(length(50)).contains("x.safetensors: found 16 bytes, expected at least 58"))
        #expect(refusal(Data([1, 2])).contains("found 2 bytes, expected at least the 8"))
    }

    @Test("is refused when the file was cut short")
    func truncated() {
        let whole = safetensors(Self.sound, data: 16)
        for count in 0..<whole.count {
            #expect(refusal(whole.prefix(count)) != "accepted", "\(count) of \(whole.count) bytes")
        }
        #expect(refusal(whole.dropLast()).contains(#"tensor "b": found data up to byte 16, expected at most 15"#))
    }

    @Test(
        "is refused with a message that names tensor, found and expected",
        arguments: [
            // (tensor a, tensor b, bytes of data, the message)
            ("", "", 20, "found 4 bytes behind the last tensor, expected none"),
            (#""data_offsets":[0,10]"#, "", 16, #"tensor "a": found 10 bytes, expected 12, for BF16 of shape [2, 3]"#),
            ("", #""data_offsets":[10,14]"#, 14, #"tensor "b": found data from byte 10, expected from 12"#),
            ("", #""data_offsets":[14,18]"#, 18, #"tensor "b": found data from byte 14, expected from 12"#),
            (
                "", #""data_offsets":[16,12]"#, 16,
                #"tensor "b": found data_offsets an array, expected two whole numbers"#
            ),
            (
                "", #""data_offsets":[-4,0]"#, 16,
                #"tensor "b": found data_offsets an array, expected two whole numbers"#
            ),
            ("", #""data_offsets":[12,1e3]"#, 16, #"tensor "b": found data_offsets an array"#),
            (
                "", #""data_offsets":[12,9223372036854775807]"#, 16,
                #"tensor "b": found data up to byte 9223372036854775807, expected at most 16"#
            ),
            (
                "", #""shape":[4294967296,4294967296]"#, 16,
                #"tensor "b": found 4 bytes, expected more than memory can address, for U8 of shape [4294967296, 4294967296]"#
            ),
            ("", #""shape":[-4]"#, 16, #"tensor "b": found shape an array, expected an array of whole numbers"#),
            ("", #""shape":[4.0]"#, 16, #"tensor "b": found shape an array, expected an array of whole numbers"#),
            ("", #""shape":"4""#, 16, #"tensor "b": found shape "4", expected an array of whole numbers"#),
            ("", #""dtype":"X9""#, 16, #"tensor "b": found dtype "X9", expected a dtype of the safetensors format"#),
            ("", #""dtype":7"#, 16, #"tensor "b": found dtype 7, expected"#),
        ])
    func refused(a: String, b: String, data: Int, message: String) {
        func tensor(_ members: [String], _ change: String) -> String {
            let name = change.split(separator: ":").first ?? "-"
            return "{" + members.map { $0.hasPrefix(name) ? change : $0 }.joined(separator: ",") + "}"
        }
        let header =
            #"{"a":"# + tensor([#""dtype":"BF16""#, #""shape":[2,3]"#, #""data_offsets":[0,12]"#], a)
            + #","b":"# + tensor([#""dtype":"U8""#, #""shape":[4]"#, #""data_offsets":[12,16]"#], b) + "}"
        let found = refusal(safetensors(header, data: data))
        #expect(found.hasPrefix("x.safetensors: "))
        #expect(found.contains(message))
    }

    @Test("is refused when it is no object of tensors")
    func malformed() {
        #expect(refusal(safetensors("[]", data: 0)).contains("found an array as header, expected an object"))
        #expect(refusal(safetensors(#"{"a":1}"#, data: 0)).contains(#"tensor "a": found dtype nothing"#))
        #expect(refusal(safetensors(#"{"a":{},"a":{}}"#, data: 0)).contains("duplicate name 'a'"))
        #expect(refusal(safetensors(#"{"__metadata__":{"a":1}}"#, data: 0)).contains("expected an object of strings"))
        #expect(refusal(safetensors(#"{"a":}"#, data: 0)).contains("x.safetensors: header: invalid JSON"))
        let deep = #"{"a":"# + String(repeating: "[", count: 1_000_000)
        #expect(refusal(safetensors(deep, data: 0)).contains("nesting deeper than"))
    }

    @Test("never lets a name take over the terminal")
    func controlCharacters() {
        let message = refusal(safetensors(#"{"\u001b[2J\n":{"dtype":"X"}}"#, data: 0))
        #expect(!message.unicodeScalars.contains { $0.value < 0x20 })
    }

    @Test("in any of 200000 mutations is accepted only if its tensors cover the data")
    func mutated() throws {
        var generator = SeededGenerator(seed: 11)
        let original = Array(safetensors(Self.sound, data: 16))
        let tokens = ["9223372036854775807", "-1", "[", "{", "\"", "null", "0", "1e9", "4294967296", "\\u0000", "}"]
            .map { Array($0.utf8) }
        var accepted = 0
        for _ in 0..<200_000 {
            let bytes = original.mutated(with: tokens, using: &generator)
            let size = bytes.count
            guard let header = try? parse(Data(bytes)) else { continue }
            accepted += 1
            #expect(header.entries.allSatisfy { 8 <= $0.range.lowerBound && $0.range.upperBound <= size })
            #expect(header.entries.last.map(\.range.upperBound) ?? size == size)
        }
        #expect(accepted > 0)
    }
}
