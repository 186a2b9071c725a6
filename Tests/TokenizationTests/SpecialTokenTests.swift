import TestSupport
import Testing
import Tokenization

@Suite struct SpecialTokenTests {
    private let tokenizer: Tokenizer

    init() throws {
        tokenizer = try TestTokenizers.tokenizer(
            TestTokenizers.json(merges: [], added: [("<a>", 300), ("<a>b", 301), ("a>", 302), ("é", 310)]))
    }

    @Test("the leftmost token is recognised, and of those the longest")
    func leftmostLongest() {
        #expect(tokenizer.encode("<a>b<a>", specialTokens: .all) == [301, 300])
        #expect(tokenizer.encode("x<a><a>b", specialTokens: .all) == [120, 300, 301])
        #expect(tokenizer.encode("<<a>", specialTokens: .all) == [60, 300])
    }

    @Test("only the allowed tokens are recognised") func subset() {
        #expect(tokenizer.encode("<a>b", specialTokens: .only(["<a>"])) == [300, 98])
        #expect(tokenizer.encode("<a>b", specialTokens: .only(["a>", "unknown"])) == [60, 302, 98])
        #expect(tokenizer.encode("<a>b", specialTokens: .only([])) == [60, 97, 62, 98])
        #expect(tokenizer.encode("<a>b") == [60, 97, 62, 98])
    }

    @Test("texts are compared as bytes, not as canonically equivalent characters")
    func bytes() {
        #expect(tokenizer.specialToken("é") == 310)
        #expect(tokenizer.specialToken("e\u{301}") == nil)
        #expect(tokenizer.encode("e\u{301}", specialTokens: .all) == [101, 0xCC, 0x81])
    }

    @Test("ids between tokens have none") func gaps() {
        #expect(tokenizer.idCount == 311)
        for id: Int32 in [.min, -1, 256, 299, 303, 311, .max] {
            #expect(tokenizer.bytes(of: id) == nil)
            #expect(!tokenizer.isSpecial(id))
        }
        #expect(tokenizer.decode([104, 0xC3, 299, 0xA9, 310]) == "h\u{FFFD}\u{FFFD}\u{FFFD}é")
    }
}
