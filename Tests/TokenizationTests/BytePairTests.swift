import JSON
import TestSupport
import Testing
import Tokenization

@Suite struct BytePairTests {
    /// Merges by the definition: again and again the leftmost of the pairs with the lowest rank.
    private static func naive(_ text: String, merges: [String]) -> [String] {
        var words = text.utf8.map { TestTokenizers.byteCharacters[Int($0)] }
        while true {
            let pairs = words.indices.dropLast().compactMap { index in
                merges.firstIndex(of: words[index] + " " + words[index + 1]).map { (rank: $0, index: index) }
            }
            guard let best = pairs.min(by: { ($0.rank, $0.index) < ($1.rank, $1.index) }) else { return words }
            words[best.index] += words.remove(at: best.index + 1)
        }
    }

    /// Merges of words over a small alphabet, each of which exists before it is used.
    private static func randomMerges(using generator: inout SeededGenerator) -> [String] {
        var words = ["a", "b", "c", "Ã", "©"]
        var merges: [String] = []
        for _ in 0..<12 {
            let pair = (0..<2).map { _ in words[Int.random(in: 0..<words.count, using: &generator)] }
            if merges.contains(pair.joined(separator: " ")) { continue }
            merges.append(pair.joined(separator: " "))
            if !words.contains(pair.joined()) { words.append(pair.joined()) }
        }
        return merges
    }

    @Test("merging agrees with its definition", arguments: [false, true])
    func definition(ignoreMerges: Bool) throws {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<300 {
            let merges = Self.randomMerges(using: &generator)
            let tokenizer = try TestTokenizers.tokenizer(
                TestTokenizers.json(merges: merges, ignoreMerges: ignoreMerges))
            for _ in 0..<10 {
                let text = (0..<Int.random(in: 1...40, using: &generator))
                    .map { _ in ["a", "b", "c", "é"].randomElement(using: &generator) ?? "" }.joined()
                let tokens = tokenizer.encode(text)
                if tokens.count > 1 || !ignoreMerges {
                    let words = tokens.map { token in
                        (tokenizer.bytes(of: token) ?? []).map { TestTokenizers.byteCharacters[Int($0)] }.joined()
                    }
                    #expect(words == Self.naive(text, merges: merges))
                }
                #expect(tokenizer.decode(tokens) == text)
            }
        }
    }

    @Test("a piece that is a token is taken whole only with ignore_merges")
    func ignoreMerges() throws {
        // "b c" comes first, so merging alone never reaches "abc" through "ab".
        let merges = ["b c", "a b", "ab c"]
        let whole = try TestTokenizers.tokenizer(TestTokenizers.json(merges: merges, ignoreMerges: true))
        #expect(whole.encode("abc") == [258])
        let merged = try TestTokenizers.tokenizer(TestTokenizers.json(merges: merges, ignoreMerges: false))
        #expect(merged.encode("abc") == [97, 256])
    }

    @Test("merges may be pairs or texts") func pairs() throws {
        var json = TestTokenizers.json(merges: ["a b"], ignoreMerges: false)
        json = json.replacing("merges", in: "model", with: [["a", "b"]])
        #expect(try TestTokenizers.tokenizer(json).encode("ab") == [256])
    }
}

extension JSONValue {
    /// The same object, but for one member of one of its members.
    func replacing(_ name: String, in outer: String, with value: JSONValue?) -> JSONValue {
        var root = object ?? JSONObject()
        var inner = root[outer]?.object ?? JSONObject()
        inner[name] = value
        root[outer] = .object(inner)
        return .object(root)
    }

    /// The same object, but for one of its members.
    func replacing(_ name: String, with value: JSONValue?) -> JSONValue {
        var root = object ?? JSONObject()
        root[name] = value
        return .object(root)
    }
}
