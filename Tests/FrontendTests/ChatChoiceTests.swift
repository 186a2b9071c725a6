import Engine
import Foundation
import Frontend
import Harmony
import JSON
import TestSupport
import Testing
import Tokenization

/// Well-behaved replies, which the fixtures' models do not give.
@Suite("Chat choices")
struct ChatChoiceTests {
    let harmony: HarmonyEncoding

    init() throws {
        let model = try #require(Fixtures.models.first)
        harmony = try HarmonyEncoding(tokenizer: Tokenizer(contentsOf: model.appending(path: "tokenizer.json")))
    }

    /// The deltas that a reply leads to, as chunks and as a whole.
    private func reply(
        _ text: String, stops: [String] = [], isScored: Bool = false, finish: FinishReason = .stop
    ) -> (chunks: [JSONValue], whole: JSONValue, choice: ChatChoice) {
        var choice = ChatChoice(harmony: harmony, rules: StopRules(strings: stops), isScored: isScored)
        var whole = ChatChoice.Delta()
        var chunks: [JSONValue] = []
        let tokens = harmony.tokenizer.encode(text, specialTokens: .all)
        let scored = tokens.map { id in
            GenerationEvent.token(ScoredToken(id: id, logprob: -0.5, top: [.init(id: id, logprob: -0.5)]))
        }
        for event in scored + [.finished(finish)] where choice.finishReason == nil {
            let delta = choice.take(event)
            whole.append(delta)
            if !delta.isEmpty { chunks.append(.object(ChatChoice.chunk(delta))) }
        }
        return (chunks, .object(ChatChoice.whole(whole)), choice)
    }

    @Test("reasoning and content are told apart")
    func reasoning() {
        let (chunks, whole, choice) = reply(
            "<|channel|>analysis<|message|>Think of Paris.<|end|><|start|>assistant<|channel|>final<|message|>It is Paris.<|return|>"
        )
        let message = whole["message"]
        #expect(message?["content"] == "It is Paris.")
        #expect(message?["reasoning"] == "Think of Paris.")
        #expect(message?["reasoning_content"] == "Think of Paris.")
        #expect(choice.finishReason == "stop")
        #expect((choice.reasoningTokens ?? 0) > 0)
        #expect(chunks.compactMap { $0["delta"]?["content"]?.string }.joined() == "It is Paris.")
    }

    @Test("a call of a function becomes a tool call, its arguments as they come")
    func toolCall() throws {
        let (chunks, whole, choice) = reply(
            #"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Zürich"}<|call|>"#)
        #expect(choice.finishReason == "tool_calls")
        #expect(whole["message"]?["content"] == .null)
        let call = try #require(whole["message"]?["tool_calls"]?.array?.first)
        #expect(call["type"] == "function")
        #expect(call["id"]?.string?.hasPrefix("call_") == true)
        #expect(call["function"]?["name"] == "get_weather")
        #expect(call["function"]?["arguments"]?.string == #"{"city":"Zürich"}"#)
        let parts = chunks.compactMap { $0["delta"]?["tool_calls"]?.array?.first }
        #expect(parts.allSatisfy { $0["index"] == 0 })
        #expect(parts.compactMap { $0["id"]?.string } == [parts.first?["id"]?.string])
        #expect(parts.compactMap { $0["function"]?["arguments"]?.string }.joined() == #"{"city":"Zürich"}"#)
    }

    @Test("a reply cut short is cut short whatever it was about")
    func length() {
        let (_, _, choice) = reply(
            #"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a"#, finish: .length)
        #expect(choice.finishReason == "length")
    }

    @Test("stop strings end the content, and only the content")
    func stops() {
        let (chunks, whole, choice) = reply(
            "<|channel|>analysis<|message|>Not END here.<|end|><|start|>assistant<|channel|>final<|message|>One, EN, two END three<|return|>",
            stops: ["END"])
        #expect(whole["message"]?["content"] == "One, EN, two ")
        #expect(whole["message"]?["reasoning"] == "Not END here.")
        #expect(chunks.compactMap { $0["delta"]?["content"]?.string }.joined() == "One, EN, two ")
        #expect(choice.finishReason == "stop")
    }

    @Test("log-probabilities are those of the content's tokens, byte for byte")
    func logprobs() {
        let (_, whole, _) = reply(
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Grüße 🙂🙂 安!<|return|>",
            isScored: true)
        let content = whole["logprobs"]?["content"]?.array ?? []
        let bytes = content.flatMap { $0["bytes"]?.array?.compactMap(\.integer) ?? [] }
        #expect(bytes == "Grüße 🙂🙂 安!".utf8.map { Int($0) })
        #expect(content.allSatisfy { $0["logprob"] == .number(JSONNumber(-0.5)) })
        #expect(content.allSatisfy { $0["top_logprobs"]?.array?.count == 1 })
    }

    @Test("a stop string counts in a garbled message, which is content only at its end", arguments: [true, false])
    func stopInGarbledMessage(ends: Bool) {
        let (_, whole, choice) = reply("Just text END more" + (ends ? "<|end|>" : ""), stops: ["END"], finish: .length)
        #expect(whole["message"]?["content"] == "Just text ")
        #expect(choice.finishReason == "stop")
    }

    @Test("a garbled message keeps its log-probabilities", arguments: ["", "<|end|>", "<|return|>"])
    func logprobsOfGarbledMessage(end: String) {
        let text = "<|channel|>final<|message|>Grüße<|end|>Just 🙂 text"
        let (_, whole, _) = reply(text + end, isScored: true)
        #expect(whole["message"]?["content"] == "Grüße\n\nJust 🙂 text")
        let content = whole["logprobs"]?["content"]?.array ?? []
        let bytes = content.flatMap { $0["bytes"]?.array?.compactMap(\.integer) ?? [] }
        #expect(bytes == "GrüßeJust 🙂 text".utf8.map { Int($0) })
    }
}
