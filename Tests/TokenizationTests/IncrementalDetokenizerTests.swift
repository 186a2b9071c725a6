import TestSupport
import Testing
import Tokenization

@Suite struct IncrementalDetokenizerTests {
    /// Tokens are bytes.
    private let tokenizer: Tokenizer

    init() throws {
        tokenizer = try TestTokenizers.tokenizer(TestTokenizers.json(merges: []))
    }

    @Test("a code point comes out with its last byte") func codePoint() {
        var detokenizer = IncrementalDetokenizer(tokenizer: tokenizer)
        #expect(Array("a😀b".utf8).map { detokenizer.append(Int32($0)) } == ["a", "", "", "", "😀", "b"])
        #expect(detokenizer.finish() == "")
    }

    @Test("what cannot become a code point any more comes out at once") func invalid() {
        var detokenizer = IncrementalDetokenizer(tokenizer: tokenizer)
        #expect(
            [0xE0, 0x80, 0xED, 0xA0, 0xF5].map { detokenizer.append($0) }.joined()
                == "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}")
        #expect(detokenizer.append(0xE2) + detokenizer.append(0x84) == "")
        #expect(detokenizer.append(999) == "\u{FFFD}\u{FFFD}")
        #expect(detokenizer.append(0xF0) == "")
        #expect(detokenizer.finish() == "\u{FFFD}")
    }

    @Test("the texts together are those of all tokens at once, and none ends within a code point")
    func concatenation() {
        var generator = SeededGenerator(seed: 3)
        let bytes: [Int32] = [0x41, 0x7F, 0x80, 0x84, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xE2, 0xED, 0xEF]
        let leads: [Int32] = [0xF0, 0xF3, 0xF4, 0xF5, 0xFF, 999]
        for _ in 0..<20_000 {
            let tokens = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                (bytes + leads).randomElement(using: &generator) ?? 0
            }
            var detokenizer = IncrementalDetokenizer(tokenizer: tokenizer)
            let text = tokens.map { detokenizer.append($0) }.joined() + detokenizer.finish()
            #expect(text.utf8.elementsEqual(tokenizer.decode(tokens).utf8), "\(tokens)")
        }
    }

    @Test("text is never held back longer than the code point that began")
    func promptness() {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<2_000 {
            let scalars = (0..<8).compactMap { _ in UnicodeScalar(UInt32.random(in: 0...0x10FFFF, using: &generator)) }
            var detokenizer = IncrementalDetokenizer(tokenizer: tokenizer)
            for scalar in scalars {
                let text = String(scalar).utf8.map { detokenizer.append(Int32($0)) }.joined()
                #expect(text.unicodeScalars.elementsEqual([scalar]))
            }
        }
    }
}
