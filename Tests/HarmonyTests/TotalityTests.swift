import Harmony
import TestSupport
import Testing
import Tokenization

@Suite struct TotalityTests {
    /// Words that occur in no header, so that each can be found again.
    private static let words = (0..<40).map { "w\($0)w" }
    private static let fragments = [
        "<|start|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>",
        "<|endoftext|>",
        "assistant", "user", "tool", "final", "analysis", "commentary", " to=", "functions.", "json", " ", "\n", "<",
        "é",
    ]

    @Test("any token sequence gives messages, loses no word, and may be split anywhere")
    func randomSequences() throws {
        let encoding = try #require(Encodings.small.first)
        let words = Self.words.map { encoding.tokens($0) }
        let fragments = Self.fragments.map { encoding.tokens($0) }
        let bytes = [0x80, 0xC3, 0xF0, 0xFF].compactMap { encoding.token(ofByte: $0) }
        let ids = bytes + [-1, .min, .max, 250_000, Int32(encoding.tokenizer.idCount)]

        var generator = SeededGenerator(seed: 20)
        for round in 0..<200_000 {
            var tokens: [Int32] = []
            var used: [String] = []
            for _ in 0..<Int.random(in: 0...16, using: &generator) {
                switch Int.random(in: 0..<20, using: &generator) {
                case 0: tokens += ids.randomElement(using: &generator).map { [$0] } ?? []
                case 1...4:
                    used.append(Self.words[used.count])
                    tokens += words[used.count - 1]
                default: tokens += fragments.randomElement(using: &generator) ?? []
                }
            }
            let role = Role.allCases.randomElement(using: &generator)
            try check(tokens, used, role, encoding, round, splitAt: Int.random(in: 0...tokens.count, using: &generator))
        }
    }

    private func check(
        _ tokens: [Int32], _ words: [String], _ role: Role?, _ encoding: HarmonyEncoding, _ round: Int,
        splitAt split: Int
    ) throws {
        let messages = encoding.messages(in: tokens, role: role)
        try #require(contains(words, messages.map { $0.header + $0.text + "\n" }.joined()), "round \(round): \(tokens)")

        var parser = HarmonyParser(encoding: encoding, role: role)
        var outputs = tokens[..<split].compactMap { parser.process($0) }
        var copy = parser
        for token in tokens[split...] { _ = parser.process(token) }
        outputs += tokens[split...].compactMap { copy.process($0) }
        outputs += copy.finish().map { [.message($0)] } ?? []
        try #require(outputs.compactMap { if case .message(let message) = $0 { message } else { nil } } == messages)

        var strict = HarmonyParser(encoding: encoding, role: role, strict: true)
        for token in tokens { _ = strict.process(token) }
        _ = strict.finish()

        guard role == .assistant else { return }
        var reply = ChatReplyParser(encoding: encoding)
        var shown = ""
        var hasCall = false
        for event in tokens.flatMap({ reply.process($0) }) + reply.finish() {
            switch event {
            case .toolCall(let name):
                try #require(!name.isEmpty)
                hasCall = true
            case .toolCallArguments(let text):
                try #require(hasCall, "arguments without a call")
                shown += text
            case .reasoning(let text), .content(let text): shown += text
            }
        }
        try #require(
            shown.filter { $0 != "\n" }.utf8.elementsEqual(
                messages.map(\.text).joined().filter { $0 != "\n" }.utf8), "round \(round): \(tokens)")
    }

    /// Whether the words occur in this order.
    private func contains(_ words: [String], _ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        for word in words {
            guard let range = rest.firstRange(of: word.utf8) else { return false }
            rest = rest[range.upperBound...]
        }
        return true
    }
}
