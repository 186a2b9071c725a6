import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

@Suite("Stop strings in generated text")
struct StopPropertyTests {
    /// The content of a reply of these tokens, and what its stream said after each of them.
    private func content(
        _ harmony: HarmonyEncoding, _ tokens: [Int32], rules: StopRules
    ) -> (whole: String, streamed: [String], reason: StopReason?) {
        var choice = ChatChoice(harmony: harmony, rules: rules, isScored: false)
        var whole = ChatChoice.Delta()
        var streamed = [""]
        let events = tokens.map { GenerationEvent.token(ScoredToken(id: $0)) } + [.finished(.length)]
        for event in events where choice.finishReason == nil {
            let delta = choice.take(event)
            whole.append(delta)
            let text = JSONValue.object(ChatChoice.chunk(delta))["delta"]?["content"]?.string ?? ""
            streamed.append((streamed.last ?? "") + text)
        }
        return (
            JSONValue.object(ChatChoice.whole(whole))["message"]?["content"]?.string ?? "", streamed, choice.stopReason
        )
    }

    @Test("random tokens and stops: streamed, whole and a plain search agree, and no beginning of a stop leaks")
    func random() throws {
        let folder = try #require(Fixtures.models.first)
        let harmony = try HarmonyEncoding(tokenizer: Tokenizer(contentsOf: folder.appending(path: "tokenizer.json")))
        let opening = harmony.tokenizer.encode("<|channel|>final<|message|>", specialTokens: .all)
        let texts = ["ab", "ba", "a", "b", "é", "🙂", " the", "\n", "aé🙂"].flatMap { harmony.tokenizer.encode($0) }
        var random = SeededGenerator(seed: 5)
        var stopped = 0
        for _ in 0..<3_000 {
            let tokens =
                opening
                + (0..<Int.random(in: 1...40, using: &random)).map { _ in texts.randomElement(using: &random) ?? 0 }
            let (text, _, none) = content(harmony, tokens, rules: StopRules())
            #expect(none == nil)
            let scalars = Array(text.unicodeScalars)
            guard !scalars.isEmpty else { continue }
            // Half of them occur in the text.
            let stops = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                let start = Int.random(in: 0..<scalars.count, using: &random)
                let end = min(scalars.count, start + Int.random(in: 1...5, using: &random))
                var piece = Array(scalars[start..<end])
                if Bool.random(using: &random) { piece.append("b") }
                return String(String.UnicodeScalarView(piece))
            }
            let bytes = Array(text.utf8)
            let match = (0...bytes.count).lazy.compactMap { end in
                stops.first { bytes[..<end].reversed().starts(with: $0.utf8.reversed()) }.map { (end, $0) }
            }.first
            let expected = match.map { Array(bytes[..<($0.0 - $0.1.utf8.count)]) } ?? bytes
            let (whole, streamed, reason) = content(harmony, tokens, rules: StopRules(strings: stops))
            #expect(Array(whole.utf8) == expected)
            #expect(streamed.last == whole)
            #expect(reason == match.map { .text($0.1) })
            #expect(streamed.allSatisfy { expected.starts(with: $0.utf8) })
            if match != nil { stopped += 1 }
        }
        #expect(stopped > 1_000)
    }
}
