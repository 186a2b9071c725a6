import Foundation
import JSON
import TestSupport
import Testing
import Tokenization

@Suite(.serialized, .enabled(if: Fixtures.data != nil)) struct LinearTimeTests {
    @Test(
        "a megabyte of a pathological text takes less than a second",
        arguments: [
            "a", "A", " ", "\n", " \n", "\n ", "\t", "\r\n", "é", "É", "日", "漢字", "あA", "0", "'", "'s", "/", "\u{301}",
            "a\u{301}", "\u{0}", "😀", "<|", "<|start", "<|start|>", "Aa", "aA", " a", "日A日A", "!\u{301}A", "\u{85}",
            "ſ'ſ",
        ])
    func pathological(unit: String) throws {
        let tokenizer = try TestTokenizers.o200k.get()
        for tail in ["", "x"] {
            let text = String(repeating: unit, count: (1 << 20) / unit.utf8.count) + tail
            var tokens: [Int32] = []
            let time = threadTime { tokens = tokenizer.encode(text, specialTokens: .all) }
            #expect(time < .seconds(1), "\(unit.debugDescription) \(tail.debugDescription)")
            #expect(tokenizer.decode(tokens).utf8.elementsEqual(text.utf8))
        }
    }

    @Test("gpt-oss' own tokenizer loads in about a second") func load() throws {
        let json = try TestTokenizers.o200kJSON.get()
        let parsing = try threadTime { _ = try JSONValue(parsing: json) }
        let all = try threadTime { _ = try Tokenizer(json: json) }
        print("loaded in \(all), of which \(parsing) for JSON")
        #expect(all < .seconds(3))
    }

    @Test("prose is encoded at many megabytes a second") func throughput() throws {
        let tokenizer = try TestTokenizers.o200k.get()
        let prose = try Data(contentsOf: Fixtures.packageRoot.appending(path: "LICENSE"))
        let text = String(repeating: String(decoding: prose, as: UTF8.self), count: 1000)
        var count = 0
        let time = threadTime { count = tokenizer.encode(text).count }
        let speed = Double(text.utf8.count) / 1e6 / (time / .seconds(1))
        print("encoded \(text.utf8.count) bytes to \(count) tokens at \(speed) MB/s")
        #expect(speed > 5)
    }
}
