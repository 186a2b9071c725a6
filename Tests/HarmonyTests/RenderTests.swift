import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

@Suite struct RenderTests {
    @Test("there are fixtures") func present() {
        #expect(!RenderFixture.all.isEmpty)
        #expect(!Encodings.small.isEmpty)
    }

    @Test(
        "a recorded conversation renders to its tokens", .enabled(if: Encodings.o200k != nil),
        arguments: RenderFixture.all)
    func tokens(fixture: RenderFixture) throws {
        let encoding = try #require(Encodings.o200k)
        guard !fixture.fails else { return }
        let conversation = try fixture.conversation()
        let tokens = try encoding.prompt(
            for: conversation, nextRole: fixture.nextRole, droppingAnalysis: fixture.droppingAnalysis)
        #expect(tokens == fixture.tokens("tokens"))
        if let expected = fixture.tokens("training_tokens") {
            let tokens = try encoding.trainingTokens(
                for: conversation, droppingAnalysis: fixture.droppingAnalysis)
            #expect(tokens == expected)
        }
    }

    @Test("a recorded conversation renders to its text in any vocabulary", arguments: RenderFixture.all)
    func text(fixture: RenderFixture) throws {
        guard !fixture.fails else { return }
        let pieces =
            try fixture.conversation().rendered(droppingAnalysis: fixture.droppingAnalysis)
            + [.marker(.start), .text(fixture.nextRole.rawValue)]
        let text = pieces.map { piece in
            switch piece {
            case .marker(let marker): marker.rawValue
            case .text(let text): text
            }
        }.joined()
        #expect(Array(text.utf8) == Array(fixture.text.utf8))

        let markerCount = pieces.count { if case .marker = $0 { true } else { false } }
        for encoding in Encodings.small {
            let tokens = try encoding.prompt(
                for: fixture.conversation(), nextRole: fixture.nextRole, droppingAnalysis: fixture.droppingAnalysis)
            #expect(Array(encoding.tokenizer.decode(tokens).utf8) == Array(fixture.text.utf8))
            #expect(tokens.count(where: encoding.tokenizer.isSpecial) == markerCount, "text became a special token")
        }
    }

    @Test("a chat request becomes the recorded conversation", arguments: RenderFixture.all)
    func request(fixture: RenderFixture) throws {
        guard let request = fixture.request else { return }
        #expect(try Conversation(request) == fixture.conversation())
    }

    @Test("what cannot be rendered is an error", arguments: RenderFixture.all)
    func errors(fixture: RenderFixture) throws {
        guard fixture.fails else { return }
        #expect(throws: (any Error).self) {
            try fixture.conversation().rendered(droppingAnalysis: fixture.droppingAnalysis)
        }
    }

    @Test("an error names the message") func errorPath() {
        let conversation = Conversation(messages: [
            Message(role: .user, text: "x"), Message(role: .tool, text: "x"),
        ])
        #expect(throws: RenderingError.self) { try conversation.rendered(droppingAnalysis: true) }
        do {
            _ = try conversation.rendered(droppingAnalysis: true)
        } catch {
            #expect(error.description.hasPrefix("messages[1]: "))
        }
    }

    @Test(
        "default numbers are written as OpenAI's library writes them",
        arguments: [
            ("0", "0"), ("-0", "-0.0"), ("0.0", "0.0"), ("1e15", "1000000000000000.0"), ("1e16", "1e16"),
            ("1E2", "100.0"),
            ("12345678.90", "12345678.9"), ("1234567890123456.5", "1234567890123456.5"), ("0.00001", "0.00001"),
            ("0.000012", "0.000012"), ("0.000001", "1e-6"), ("-1.25e-7", "-1.25e-7"), ("0.5", "0.5"), ("10.0", "10.0"),
            ("1.7976931348623157e308", "1.7976931348623157e308"), ("18446744073709551616", "1.8446744073709552e19"),
            ("9007199254740993.0", "9007199254740992.0"), ("[1.50,{\"a\":2e0}]", "[1.5,{\"a\":2.0}]"),
        ])
    func numbers(written: String, expected: String) throws {
        let schema = try JSONValue(parsing: #"{"type":"object","properties":{"x":{"default":\#(written)}}}"#)
        let tools = [ToolNamespace(name: "n", tools: [Tool(name: "f", parameters: schema)])]
        let conversation = Conversation(messages: [
            Message(role: .developer, content: [.developer(DeveloperContent(tools: tools))])
        ])
        let pieces = try conversation.rendered(droppingAnalysis: false)
        #expect(
            pieces.contains { piece in
                guard case .text(let text) = piece else { return false }
                return text.contains("x?: any, // default: \(expected)\n")
            }, "\(pieces)")
    }
}
