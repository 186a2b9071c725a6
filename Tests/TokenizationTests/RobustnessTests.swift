import Foundation
import JSON
import TestSupport
import Testing
import Tokenization

/// Nothing in a `tokenizer.json` is trusted: it is read, or refused with an error that says why.
@Suite struct RobustnessTests {
    private static let sound = TestTokenizers.json(
        merges: ["a b", "ab c", "Ġ a", "Ã ©"], added: [("<|start|>", 260), ("<|end|>", 270)])
    private static let text = "abc ab é\u{301}日本 <|start|>x<|end|> \r\n 1234 don't 😀"

    /// True where the file was usable, in which case it must keep its promises.
    private static func exercise(_ json: some Sequence<UInt8>) -> Bool {
        let tokenizer: Tokenizer
        do {
            tokenizer = try Tokenizer(json: json)
        } catch {
            #expect(error is TokenizerError)
            return false
        }
        for tokens in [tokenizer.encode(text), tokenizer.encode(text, specialTokens: .all)] {
            #expect(tokenizer.decode(tokens) == text)
            #expect(tokens.allSatisfy { (0..<Int32(tokenizer.idCount)).contains($0) })
        }
        return true
    }

    @Test("mutated bytes are read or refused, never worse") func mutatedBytes() {
        var generator = SeededGenerator(seed: 5)
        let bytes = Array(Self.sound.serialized.utf8)
        var usable = 0
        for _ in 0..<200_000 where Self.exercise(bytes.mutated(using: &generator)) { usable += 1 }
        #expect(usable > 0)
    }

    @Test("mutated values are read or refused, never worse") func mutatedValues() {
        var generator = SeededGenerator(seed: 6)
        var usable = 0
        for _ in 0..<50_000 where Self.exercise(Self.mutated(Self.sound, using: &generator).serialized.utf8) {
            usable += 1
        }
        #expect(usable > 0)
    }

    /// The value, or one of the values within it, replaced by an odd one, removed or repeated.
    private static func mutated(_ value: JSONValue, using generator: inout SeededGenerator) -> JSONValue {
        let odd: [JSONValue] = [
            nil, true, -1, 0, 255, 1_048_575, 1_048_576, 2_147_483_648, .number(JSONNumber(1e300)), "", "a", "a b", "Ġ",
            "日", [], ["a"], ["a", "b"], ["a", "b", "c"], [:], ["": 0],
        ]
        if Int.random(in: 0..<8, using: &generator) == 0 { return odd.randomElement(using: &generator) ?? nil }
        switch value {
        case .array(var elements) where !elements.isEmpty:
            let index = Int.random(in: 0..<elements.count, using: &generator)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: elements.remove(at: index)
            case 1: elements.append(elements[index])
            default: elements[index] = mutated(elements[index], using: &generator)
            }
            return .array(elements)
        case .object(var object) where !object.members.isEmpty:
            let member = object.members[Int.random(in: 0..<object.members.count, using: &generator)]
            let removed = Int.random(in: 0..<6, using: &generator) == 0
            object[member.name] = removed ? nil : mutated(member.value, using: &generator)
            return .object(object)
        default: return odd.randomElement(using: &generator) ?? nil
        }
    }

    private static let unsound: [(String, JSONValue)] = [
        ("model: found nothing", sound.replacing("model", with: nil)),
        ("model.type: found \"Unigram\"", sound.replacing("type", in: "model", with: "Unigram")),
        ("model.vocab: found an array", sound.replacing("vocab", in: "model", with: [])),
        ("model.vocab['x']: found -1", sound.replacing("vocab", in: "model", with: ["x": -1])),
        ("model.vocab['x']: found 1048576", sound.replacing("vocab", in: "model", with: ["x": 1_048_576])),
        ("same id 7", sound.replacing("vocab", in: "model", with: ["x": 7, "y": 7])),
        ("no token for the byte 0", sound.replacing("vocab", in: "model", with: ["x": 7])),
        ("not written in the byte alphabet", sound.replacing("vocab", in: "model", with: ["日": 7])),
        ("not written in the byte alphabet", sound.replacing("vocab", in: "model", with: ["": 7])),
        ("model.merges: found null", sound.replacing("merges", in: "model", with: .some(.null))),
        ("model.merges[0]: 'b', 'a'", sound.replacing("merges", in: "model", with: ["b a"])),
        ("model.merges[0]: '日', 'a'", sound.replacing("merges", in: "model", with: ["日 a"])),
        ("model.merges[0]: found an array", sound.replacing("merges", in: "model", with: [["a"]])),
        ("model.merges[0]: found \"a b c\"", sound.replacing("merges", in: "model", with: ["a b c"])),
        ("model.ignore_merges: found 1", sound.replacing("ignore_merges", in: "model", with: 1)),
        ("model.dropout", sound.replacing("dropout", in: "model", with: .number(JSONNumber(0.1)))),
        ("normalizer", sound.replacing("normalizer", with: ["type": "NFC"])),
        ("decoder.type", sound.replacing("decoder", with: ["type": "Fuse"])),
        ("post_processor.type", sound.replacing("post_processor", with: ["type": "TemplateProcessing"])),
        ("pre_tokenizer.pretokenizers", sound.replacing("pretokenizers", in: "pre_tokenizer", with: [])),
        ("added_tokens: found an object", sound.replacing("added_tokens", with: [:])),
        ("added_tokens[0].content", sound.replacing("added_tokens", with: [["id": 300, "content": ""]])),
        (
            "added_tokens[0].content: 257 bytes",
            sound.replacing(
                "added_tokens", with: [["id": 300, "content": .string(String(repeating: "x", count: 257))]])
        ),
        ("added_tokens[0].id", sound.replacing("added_tokens", with: [["id": 1_048_576, "content": "x"]])),
        (
            "added_tokens[0].lstrip",
            sound.replacing("added_tokens", with: [["id": 300, "content": "x", "lstrip": true]])
        ),
        (
            "added_tokens[1]: 'x', id 301, repeats",
            sound.replacing("added_tokens", with: [["id": 300, "content": "x"], ["id": 301, "content": "x"]])
        ),
        ("has the id 256 of 'ab'", sound.replacing("added_tokens", with: [["id": 256, "content": "x"]])),
    ]

    @Test("what is unsound is named") func named() {
        for (problem, json) in Self.unsound {
            let error = #expect(throws: TokenizerError.self) { try TestTokenizers.tokenizer(json) }
            #expect(error?.description.contains(problem) == true, "\(problem): \(error?.description ?? "")")
        }
    }

    @Test("another pattern than o200k's is refused") func pattern() {
        let json = Self.sound.serialized.replacing("{1,3}", with: "{1,2}")
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(json: json.utf8) }
        #expect(error?.description.contains("pretokenizers[0].pattern.Regex: found") == true)
    }

    @Test("a file that is not there is named") func missing() {
        let error = #expect(throws: TokenizerError.self) {
            try Tokenizer(contentsOf: Fixtures.root.appending(path: "no such tokenizer.json"))
        }
        #expect(error?.description.contains("no such tokenizer.json") == true)
    }

    @Test("any bytes taken as text are encoded and decoded back") func anyText() throws {
        var generator = SeededGenerator(seed: 7)
        let tokenizer = try TestTokenizers.tokenizer(Self.sound)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...60, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(tokenizer.decode(tokenizer.encode(text, specialTokens: .all)).utf8.elementsEqual(text.utf8))
        }
    }
}
