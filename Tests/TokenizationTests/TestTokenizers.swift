import Foundation
import JSON
import TestSupport
import Tokenization

/// Tokenizers to test with.
enum TestTokenizers {
    static let fixtures = Fixtures.root.appending(path: "tokenizer")

    /// The text of gpt-oss' own `tokenizer.json`.
    static let o200kJSON = Result {
        let archive = (Fixtures.data ?? fixtures).appending(path: "o200k_harmony_tokenizer.json.gz")
        let output = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["gzip", "-dc", archive.path]
        process.standardOutput = output
        try process.run()
        return try output.fileHandleForReading.readToEnd() ?? Data()
    }

    /// gpt-oss' own tokenizer.
    static let o200k = Result { try Tokenizer(json: o200kJSON.get()) }

    /// The characters that stand for the bytes 0, 1, … in a vocabulary.
    static let byteCharacters: [String] = {
        let printable = Set([0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF].flatMap { $0 })
        let others = (0..<0x100).filter { !printable.contains($0) }
        return (0..<0x100).map { byte in
            let code = others.firstIndex(of: byte).map { 0x100 + $0 } ?? byte
            return UnicodeScalar(code).map { String($0) } ?? ""
        }
    }()

    /// A `tokenizer.json` that has all bytes as the tokens 0 to 255 and then the results of the merges, each merge two
    /// words with a blank between them.
    static func json(merges: [String], ignoreMerges: Bool = true, added: [(String, Int)] = []) -> JSONValue {
        var words = byteCharacters
        for word in merges.map({ $0.replacing(" ", with: "") }) where !words.contains(word) { words.append(word) }
        let members = words.enumerated().map { JSONObject.Member(name: $0.element, value: JSONValue($0.offset)) }
        return [
            "added_tokens": .array(added.map { ["id": JSONValue($0.1), "content": .string($0.0), "special": true] }),
            "normalizer": nil,
            "pre_tokenizer": [
                "type": "Sequence",
                "pretokenizers": [
                    [
                        "type": "Split", "pattern": ["Regex": .string(o200kPattern)], "behavior": "Isolated",
                        "invert": false,
                    ],
                    ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false],
                ],
            ],
            "decoder": ["type": "ByteLevel"],
            "model": [
                "type": "BPE", "dropout": nil, "byte_fallback": false, "ignore_merges": .bool(ignoreMerges),
                "vocab": .object(JSONObject(members)), "merges": .array(merges.map { .string($0) }),
            ],
        ]
    }

    static func tokenizer(_ json: JSONValue) throws -> Tokenizer { try Tokenizer(json: json.serialized.utf8) }

    private static let o200kPattern: String = {
        (try? Fixtures.json(fixtures.appending(path: "specials.json")))?["pat_str"]?.string ?? ""
    }()
}
