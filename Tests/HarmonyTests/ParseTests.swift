import Harmony
import JSON
import TestSupport
import Testing

@Suite struct ParseTests {
    @Test("there are fixtures") func present() {
        #expect(!ParseFixture.all.isEmpty)
    }

    @Test("strict results and errors are OpenAI's", .enabled(if: Encodings.o200k != nil), arguments: ParseFixture.all)
    func strict(fixture: ParseFixture) throws {
        let encoding = try #require(Encodings.o200k)
        expect(fixture.strict, of: fixture.tokens, encoding, fixture) { $0 }
    }

    @Test(
        "tolerant results are OpenAI's, but nothing is lost", .enabled(if: Encodings.o200k != nil),
        arguments: ParseFixture.all)
    func tolerant(fixture: ParseFixture) throws {
        expectTolerant(fixture, fixture.tokens, try #require(Encodings.o200k))
    }

    @Test(
        "state and delta after each token are OpenAI's", .enabled(if: Encodings.o200k != nil),
        arguments: ParseFixture.all)
    func steps(fixture: ParseFixture) throws {
        let encoding = try #require(Encodings.o200k)
        expectSteps(fixture, HarmonyParser(encoding: encoding, role: fixture.role, strict: true))
        if fixture.errorIndex == nil, !fixture.isTolerantDifferent {
            expectSteps(fixture, HarmonyParser(encoding: encoding, role: fixture.role))
        }
    }

    @Test("other vocabularies give the same results", arguments: ParseFixture.all)
    func small(fixture: ParseFixture) throws {
        guard fixture.isText else { return }
        for encoding in Encodings.small {
            let tokens = encoding.tokens(fixture.text)
            // Errors may name token ids, which differ.
            expect(fixture.strict, of: tokens, encoding, fixture) { $0.filter { !$0.isNumber } }
            expectTolerant(fixture, tokens, encoding)
        }
    }

    private func expect(
        _ outcome: ParseFixture.Outcome, of tokens: [Int32], _ encoding: HarmonyEncoding, _ fixture: ParseFixture,
        comparing: (String) -> String
    ) {
        switch outcome {
        case .messages(let messages):
            #expect(throws: Never.self) {
                let parsed = try encoding.strictMessages(in: tokens, role: fixture.role)
                #expect(parsed.map(comparable) == messages.map(comparable))
            }
        case .error(let description):
            do throws(HarmonyProblem) {
                let messages = try encoding.strictMessages(in: tokens, role: fixture.role)
                Issue.record("no error, but \(messages)")
            } catch {
                #expect(comparing(error.description) == comparing(description))
                if tokens == fixture.tokens { #expect(error.tokenIndex == fixture.errorIndex) }
            }
        }
    }

    /// Every recorded message is there, in order. What OpenAI's library discards is there, too, and flagged; what comes
    /// after the point at which it gives up may be well-formed again.
    private func expectTolerant(_ fixture: ParseFixture, _ tokens: [Int32], _ encoding: HarmonyEncoding) {
        var parser = HarmonyParser(encoding: encoding, role: fixture.role)
        let parsed = parser.messages(in: tokens)
        var expected = fixture.messagesBeforeError[...]
        if case .messages(let messages) = fixture.tolerant { expected = messages[...] }
        for message in parsed {
            if let next = expected.first, comparable(next) == comparable(message) {
                expected.removeFirst()
            } else if case .messages = fixture.tolerant {
                #expect(!message.problems.isEmpty, "\(message)")
            }
        }
        #expect(expected.isEmpty, "\(parsed)")
        if case .error = fixture.tolerant { #expect(!parser.problems.isEmpty) }
    }

    private func expectSteps(_ fixture: ParseFixture, _ parser: HarmonyParser) {
        var parser = parser
        var finishedCount = 0
        var expected: [JSONValue] = []
        for (index, step) in fixture.steps.enumerated() {
            let output = parser.process(fixture.tokens[index])
            if let whole = step.array { expected = whole } else { expected[1] = step }
            var delta: JSONValue = nil
            if case .delta(let text) = output { delta = .string(text) }
            if case .message = output { finishedCount += 1 }
            #expect(parser.described(delta, finishedCount) == JSONValue.array(expected).serialized, "token \(index)")
        }
        if let end = fixture.json["eos"] {
            if parser.finish() != nil { finishedCount += 1 }
            #expect(parser.described(nil, finishedCount) == end.serialized)
        }
    }
}

extension HarmonyParser {
    /// The parser in the words of the fixtures.
    fileprivate func described(_ delta: JSONValue, _ finishedCount: Int) -> String {
        let letter =
            switch state {
            case .expectingStart: "S"
            case .header: "H"
            case .content: "C"
            }
        let fields = [currentRole?.rawValue, currentChannel, currentRecipient, currentContentType]
        return JSONValue.array(
            [.string(letter), delta, JSONValue(finishedCount)] + fields.map { $0.map { .string($0) } ?? nil }
        ).serialized
    }
}
