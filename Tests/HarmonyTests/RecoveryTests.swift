import Harmony
import TestSupport
import Testing
import Tokenization

@Suite struct RecoveryTests {
    @Test(
        "a garbled header still gives what it can",
        arguments: [
            ("<|channel|> final<|message|>x<|return|>", "final", nil, nil),
            (
                "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}<|call|>", "commentary",
                "functions.f", "<|constrain|> json"
            ),
            (
                "<|channel|>commentary <|constrain|>json to=functions.f<|message|>{}<|call|>", "commentary",
                "functions.f", "<|constrain|>json"
            ),
            ("<|channel|>final and more stuff<|message|>x<|return|>", "final", nil, "and more stuff"),
            ("<|channel|><|message|>x<|return|>", nil, nil, nil),
        ] as [(String, String?, String?, String?)])
    func headers(text: String, channel: String?, recipient: String?, contentType: String?) throws {
        for encoding in Encodings.small {
            let messages = encoding.messages(in: encoding.tokens(text))
            let message = try #require(messages.first).message
            #expect(messages.count == 1)
            #expect(messages.first?.problems.count == 1)
            #expect(message.channel == channel)
            #expect(message.recipient == recipient)
            #expect(message.contentType == contentType)
        }
    }

    @Test("text between messages becomes a message of its own") func strayText() {
        for encoding in Encodings.small {
            let text =
                "<|channel|>final<|message|>x<|end|>lost\n\n words<|start|>assistant<|channel|>final<|message|>y<|return|> more"
            let messages = encoding.messages(in: encoding.tokens(text))
            #expect(messages.map(\.text) == ["x", "lost\n\n words", "y", "more"])
            #expect(messages.map { $0.problems.isEmpty } == [true, false, true, false])
            #expect(messages.map(\.message.role) == [.assistant, .assistant, .assistant, .assistant])
        }
    }

    @Test("a missing start token costs nothing but a flag") func missingStart() {
        for encoding in Encodings.small {
            let text = "<|channel|>analysis<|message|>x<|end|>assistant<|channel|>final<|message|>y<|return|>"
            let messages = encoding.messages(in: encoding.tokens(text))
            #expect(messages.map(\.message.channel) == ["analysis", "final"])
            #expect(messages.map { $0.problems.isEmpty } == [true, false])
        }
    }

    @Test("a message that ends in its header keeps its line breaks") func missingMessageToken() {
        for encoding in Encodings.small {
            let text = "<|channel|>final\n# Title\n\n- a\n  - b\n<|end|><|start|>assistant<|channel|>analysis so  so"
            let messages = encoding.messages(in: encoding.tokens(text))
            #expect(messages.map(\.text) == ["# Title\n\n- a\n  - b", "so  so"])
            #expect(messages.map(\.message.content) == [[.text("# Title - a - b")], [.text("so so")]])
        }
    }

    @Test("deltas hold incomplete code points back, and the end of the message gives them up") func incompleteUTF8()
        throws
    {
        for encoding in Encodings.small {
            var parser = HarmonyParser(encoding: encoding)
            for token in encoding.tokens("<|channel|>final<|message|>") { _ = parser.process(token) }
            let bytes: [(UInt8, String?)] = [
                (0xC3, nil), (0xA9, "é"), (0xF0, nil), (0x9F, nil), (0x78, "\u{FFFD}"), (0x79, "xy"), (0xE2, nil),
                (0x82, nil),
            ]
            for (byte, delta) in bytes {
                let output = parser.process(try #require(encoding.token(ofByte: byte)))
                #expect(output == delta.map { .delta($0) })
            }
            #expect(parser.finish()?.text == "é\u{FFFD}xy\u{FFFD}")
        }
    }

    @Test("ids that no vocabulary has end what OpenAI's library reads, not what is kept") func impossibleTokens() {
        for encoding in Encodings.small {
            let prefix = encoding.tokens("<|channel|>final<|message|>a")
            for id in [Int32.min, -1, 250_000, .max] {
                let messages = encoding.messages(in: prefix + [id] + encoding.tokens("b<|return|>"))
                #expect(messages.map(\.message.content) == [[.text("a\u{FFFD}")]])
                #expect(messages.map(\.text) == ["a\u{FFFD}b"])
            }
            let reserved = encoding.messages(in: prefix + [Int32(encoding.tokenizer.idCount)])
            #expect(reserved.map(\.text) == ["a<|reserved_\(encoding.tokenizer.idCount)|>"])
        }
    }
}
