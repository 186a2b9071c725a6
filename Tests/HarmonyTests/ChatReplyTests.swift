import Harmony
import TestSupport
import Testing

@Suite struct ChatReplyTests {
    @Test("reasoning, preamble, call and answer come as events") func wellFormed() {
        let text =
            "<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>commentary<|message|>Let me look."
            + "<|end|><|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{\"a\":1}<|call|>"
            + "<|start|>assistant<|channel|>commentary to=functions.g<|message|><|call|>"
            + "<|start|>assistant<|channel|>final <|constrain|>json<|message|>Done.<|return|>"
        expect(
            text,
            [
                .reasoning("think"), .content("Let me look."), .toolCall(name: "f"), .toolCallArguments("{\"a\":1}"),
                .toolCall(name: "g"), .content("\n\nDone."),
            ], isGarbled: false)
    }

    @Test(
        "garbled output is shown, not lost",
        arguments: [
            ("Just text", [.content("Just text")]),
            ("<|message|>x<|return|>", [.content("x")]),
            ("<|channel|>scratchpad<|message|>x", [.content("x")]),
            ("<|channel|>commentary to=elsewhere<|message|>x<|call|>", [.content("x")]),
            ("<|channel|>commentary to=functions.<|message|>x<|call|>", [.content("x")]),
            ("<|channel|>analysis to=python code<|message|>1+1<|call|>", [.reasoning("1+1")]),
            ("<|channel|>analysis so it is<|end|>", [.reasoning("so it is")]),
            (
                "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}",
                [.toolCall(name: "f"), .toolCallArguments("{}")]
            ),
            ("<|channel|>final<|message|>a<|end|>b", [.content("a"), .content("\n\nb")]),
            (
                "<|channel|>final<|message|>a<|end|><|start|>user<|message|>b<|end|>",
                [.content("a"), .content("\n\nb")]
            ),
            ("<|channel|>final<|message|>a<|return|><|return|>", [.content("a")]),
            ("<|start|>assistant<|channel|>final<|message|>x<|return|>", [.content("x")]),
        ] as [(String, [ChatReplyEvent])])
    func garbled(text: String, events: [ChatReplyEvent]) {
        expect(text, events, isGarbled: true)
    }

    private func expect(_ text: String, _ expected: [ChatReplyEvent], isGarbled: Bool) {
        for encoding in Encodings.small {
            var parser = ChatReplyParser(encoding: encoding)
            let events = encoding.tokens(text).flatMap { parser.process($0) } + parser.finish()
            #expect(joined(events) == joined(expected))
            #expect(parser.isGarbled == isGarbled)
        }
    }

    /// Events as text: how a vocabulary cuts a text into deltas does not matter.
    private func joined(_ events: [ChatReplyEvent]) -> String {
        var previous = ""
        return events.map { event in
            let (kind, text) =
                switch event {
                case .reasoning(let text): ("reasoning", text)
                case .content(let text): ("content", text)
                case .toolCall(let name): ("call \(name)", "")
                case .toolCallArguments(let text): ("arguments", text)
                }
            defer { previous = kind }
            return kind == previous ? text : "[\(kind)]\(text)"
        }.joined()
    }
}
