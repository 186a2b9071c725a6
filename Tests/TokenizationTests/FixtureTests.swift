import Foundation
import JSON
import TestSupport
import Testing
import Tokenization

/// What tiktoken and Hugging Face tokenizers give, case by case.
@Suite struct FixtureTests {
    private static let folder = TestTokenizers.fixtures

    private static func ids(_ value: JSONValue?) -> [Int32]? { value?.array?.compactMap { $0.integer.map(Int32.init) } }

    @Test("every text is encoded as the reference does it", .enabled(if: Fixtures.data != nil))
    func encode() throws {
        let tokenizer = try TestTokenizers.o200k.get()
        for example in try Fixtures.jsonLines(Self.folder.appending(path: "encode.jsonl")) {
            let id = Comment(rawValue: example["id"]?.string ?? "")
            let text = try #require(example["text"]?.string)
            let ordinary = try #require(Self.ids(example["ordinary"]))
            #expect(tokenizer.encode(text) == ordinary, id)
            // `special` is tiktoken's result, which knows reserved tokens that no tokenizer.json has.
            let special = Self.ids(example["hf_special"]) ?? Self.ids(example["special"]) ?? ordinary
            #expect(tokenizer.encode(text, specialTokens: .all) == special, id)
            if let allowed = example["subset_allowed"]?.array, let subset = Self.ids(example["subset"]) {
                #expect(tokenizer.encode(text, specialTokens: .only(Set(allowed.compactMap(\.string)))) == subset, id)
            }
            #expect(tokenizer.decode(ordinary) == text, id)
        }
    }

    @Test("every text is cut into the reference's pieces") func pieces() throws {
        let preTokenizer = try PreTokenizer.o200k.get()
        for example in try Fixtures.jsonLines(Self.folder.appending(path: "encode.jsonl")) {
            guard let expected = example["pieces"]?.array?.compactMap(\.integer) else { continue }
            var text = try #require(example["text"]?.string)
            var pieces: [Int] = []
            text.withUTF8 { preTokenizer.forEachPiece(of: $0[...]) { pieces.append($0.count) } }
            #expect(pieces == expected, Comment(rawValue: example["id"]?.string ?? ""))
        }
    }

    @Test("every token sequence is decoded as the reference does it", .enabled(if: Fixtures.data != nil))
    func decode() throws {
        let tokenizer = try Self.tokenizerWithReservedTokens()
        for example in try Fixtures.jsonLines(Self.folder.appending(path: "decode.jsonl")) {
            let id = Comment(rawValue: example["id"]?.string ?? "")
            let ids = try #require(Self.ids(example["ids"]))
            let bytes = try #require(example["bytes_b64"]?.string.flatMap { Data(base64Encoded: $0) })
            #expect(ids.flatMap { tokenizer.bytes(of: $0) ?? [] } == Array(bytes), id)
            #expect(tokenizer.decode(ids).utf8.elementsEqual(try #require(example["text"]?.string).utf8), id)
        }
    }

    /// tiktoken names every id up to the end of the model's vocabulary, `tokenizer.json` only the first few.
    private static func tokenizerWithReservedTokens() throws -> Tokenizer {
        let count = try Fixtures.json(folder.appending(path: "specials.json"))["n_vocab"]?.integer
        let ids = Int(try TestTokenizers.o200k.get().idCount)..<(try #require(count))
        let reserved = ids.map { #"{"id": \#($0), "content": "<|reserved_\#($0)|>"},"# }.joined()
        var json = try TestTokenizers.o200kJSON.get()
        json.insert(
            contentsOf: reserved.utf8, at: try #require(json.range(of: Data(#""added_tokens": ["#.utf8))).upperBound)
        return try Tokenizer(json: json)
    }

    @Test("the added tokens are those of gpt-oss", .enabled(if: Fixtures.data != nil))
    func specials() throws {
        let tokenizer = try TestTokenizers.o200k.get()
        let specials = try Fixtures.json(Self.folder.appending(path: "specials.json"))
        let added = try #require(specials["hf_added_tokens"]?.object).members
        for token in added {
            let id = try #require(token.value.integer.map(Int32.init))
            #expect(tokenizer.specialToken(token.name) == id)
            #expect(tokenizer.isSpecial(id))
            #expect(tokenizer.decode([id]) == token.name)
        }
        let ranks = try #require(specials["n_ranks"]?.integer)
        #expect(tokenizer.idCount == ranks + added.count)
        #expect(!tokenizer.isSpecial(Int32(ranks) - 1))
        #expect(tokenizer.specialToken("hello") == nil)
    }

    @Test("every model folder's cases are met", arguments: Fixtures.models)
    func models(folder: URL) throws {
        let tokenizer = try Tokenizer(contentsOf: folder.appending(path: "tokenizer.json"))
        for example in try Fixtures.jsonLines(folder.appending(path: "tokenizer_cases.jsonl")) {
            let text = try #require(example["text"]?.string)
            let ids = try #require(Self.ids(example["ids"]))
            #expect(tokenizer.encode(text, specialTokens: .all) == ids, "\(text)")
            #expect(tokenizer.decode(ids).utf8.elementsEqual(try #require(example["decoded"]?.string).utf8), "\(text)")
        }
    }

    @Test("the table of code point classes is the fixture's") func classes() throws {
        let fixture = try Fixtures.json(Self.folder.appending(path: "unicode_classes.json"))
        let names: [(String, CodePointClass)] = [
            ("Lu", .uppercaseLetter), ("Lt", .titlecaseLetter), ("Ll", .lowercaseLetter), ("i_s (?i:s)", .longS),
            ("Lm", .modifierLetter), ("Lo", .otherLetter), ("M", .mark), ("N", .number),
            ("White_Space (\\s)", .whiteSpace),
        ]
        var expected = [UInt8](repeating: CodePointClass.other.rawValue, count: 0x110000)
        for (name, symbol) in names {
            for range in try #require(fixture["classes"]?[name]?.array) {
                let bounds = try #require(range.array).compactMap(\.integer)
                for code in try #require(bounds.first)...(try #require(bounds.last)) {
                    expected[code] = symbol.rawValue
                }
            }
        }
        expected.replaceSubrange(0..<0x80, with: 0..<0x80)
        #expect(expected.indices.allSatisfy { CodePointClasses.unicode16[UInt32($0)] == expected[$0] })
    }
}
