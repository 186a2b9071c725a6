internal import Foundation
internal import JSON

/// What a synthesis needs to know of a `tokenizer.json`.
struct SyntheticTokenizer {
    /// One more than the largest id.
    let size: Int
    /// `<|startoftext|>`, `<|endoftext|>`, `<|return|>` and `<|call|>`.
    let startOfText, endOfText, `return`, call: Int32

    /// Reads what matters from a file.
    init(file: URL) throws {
        try self.init(readJSON(file, limit: 256 << 20), file: file.lastPathComponent)
    }

    init(_ value: JSONValue, file: String) throws {
        var size = 0
        var ids: [String: Int32] = [:]
        func take(_ id: JSONValue?, _ name: String) throws -> Int32 {
            guard let id = id?.integer, (0..<1 << 24).contains(id) else {
                throw CheckpointError(file, field: name, found: shown(id), expected: "a token id")
            }
            size = max(size, id + 1)
            return Int32(id)
        }
        for member in value["model"]?["vocab"]?.object?.members ?? [] { _ = try take(member.value, member.name) }
        for token in value["added_tokens"]?.array ?? [] {
            guard let name = token["content"]?.string else { continue }
            ids[name] = try take(token["id"], name)
        }
        func special(_ name: String) throws -> Int32 {
            guard let id = ids[name] else {
                throw CheckpointError(file, field: "added_tokens", found: "no \(name)", expected: "Harmony's tokens")
            }
            return id
        }
        self.size = size
        startOfText = try special("<|startoftext|>")
        endOfText = try special("<|endoftext|>")
        `return` = try special("<|return|>")
        call = try special("<|call|>")
    }

    /// The special tokens of o200k_harmony in the order of their ids, 199998 to 200018.
    static let specials =
        ["<|startoftext|>", "<|endoftext|>", "<|reserved_200000|>", "<|reserved_200001|>", "<|return|>"]
        + ["<|constrain|>", "<|reserved_200004|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>"]
        + (200_009...200_011).map { "<|reserved_\($0)|>" } + ["<|call|>"]
        + (200_013...200_017).map { "<|reserved_\($0)|>" } + ["<|endofprompt|>"]

    /// A `tokenizer.json` of exactly that many ids: the 256 bytes, made-up words, the special tokens. Text becomes
    /// bytes and known words; there are no merges.
    static func json(size: Int) throws -> JSONValue {
        guard size >= 256 + specials.count else {
            throw CheckpointError(
                "config.json", field: "vocab_size", found: "\(size)",
                expected: "at least \(256 + specials.count): the bytes and the special tokens of a tokenizer")
        }
        let words = (0..<size - 256 - specials.count).map { "Ġ" + word($0) }
        let vocabulary = (byteCharacters + words).enumerated()
            .map { JSONObject.Member(name: $1, value: JSONValue($0)) }
        let added: [JSONValue] = specials.enumerated().map { index, name in
            [
                "id": JSONValue(size - specials.count + index), "content": .string(name), "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true,
            ]
        }
        let byteLevel: JSONValue = [
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        ]
        return [
            "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": .array(added), "normalizer": nil,
            "pre_tokenizer": [
                "type": "Sequence",
                "pretokenizers": [
                    [
                        "type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated",
                        "invert": false,
                    ],
                    byteLevel,
                ],
            ],
            "post_processor": nil, "decoder": byteLevel,
            "model": [
                "type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil,
                "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                "vocab": .object(JSONObject(vocabulary)), "merges": [],
            ],
        ]
    }

    /// The characters by which byte-level BPE writes the 256 bytes: printable Latin-1 stands for itself, the others
    /// for U+0100 onwards; in order of character, which is the order of o200k's first ids.
    private static let byteCharacters: [String] =
        ([33...126, 161...172, 174...255].flatMap { Array($0) } + Array(256...323))
        .compactMap { UnicodeScalar($0).map { String($0) } }

    /// A pronounceable word for every index, all of them different.
    private static func word(_ index: Int) -> String {
        let consonants = Array("bdfghjklmnprstvwyz")
        let vowels = Array("aeiou")
        var rest = index
        var word = ""
        repeat {
            let syllable = rest % 90
            word.append(consonants[syllable / 5])
            word.append(vowels[syllable % 5])
            rest /= 90
        } while rest > 0
        return word
    }

    /// o200k's pre-tokenisation.
    private static let pattern = [
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
        #"\p{N}{1,3}"#, #" ?[^\s\p{L}\p{N}]+[\r\n/]*"#, #"\s*[\r\n]+"#, #"\s+(?!\S)"#, #"\s+"#,
    ].joined(separator: "|")
}
