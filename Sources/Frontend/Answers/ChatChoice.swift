package import Engine
package import Harmony
package import JSON

/// A choice of `/v1/chat/completions`: reasoning, content and tool calls, whatever the model generates.
package struct ChatChoice: Choice {
    package struct Delta: ChoiceDelta {
        var reasoning = ""
        var content = ""
        /// Calls, or further parts of calls, by ascending index.
        var toolCalls: [ToolCallDelta] = []
        /// One entry per token of the content; nil where log-probabilities were not asked for.
        var logprobs: [JSONValue]?

        package init() {}

        package var isEmpty: Bool {
            reasoning.isEmpty && content.isEmpty && toolCalls.isEmpty && logprobs?.isEmpty ?? true
        }

        package mutating func append(_ next: Delta) {
            reasoning += next.reasoning
            content += next.content
            for call in next.toolCalls { append(call) }
            guard let added = next.logprobs else { return }
            // In place: replies are long.
            if logprobs?.append(contentsOf: added) == nil { logprobs = added }
        }

        mutating func append(_ call: ToolCallDelta) {
            if let last = toolCalls.indices.last, toolCalls[last].index == call.index {
                toolCalls[last].arguments += call.arguments
            } else {
                toolCalls.append(call)
            }
        }
    }

    /// A call, or more of the arguments of one.
    struct ToolCallDelta: Sendable {
        /// What is said when the call begins.
        struct Beginning: Sendable {
            var id: String
            var name: String
        }

        var index: Int
        var beginning: Beginning?
        var arguments = ""
    }

    package static let idPrefix = "chatcmpl-"
    package static let object = "chat.completion"
    package static let chunkObject = "chat.completion.chunk"
    package static let sharesPrompt = true
    package static let opening: JSONValue? = ["delta": ["role": "assistant", "content": ""], "logprobs": nil]

    private let harmony: HarmonyEncoding
    private let rules: StopRules
    private let isScored: Bool
    private var parser: ChatReplyParser
    private var text: GuardedText
    private var callCount = 0
    /// Tokens whose text is not known yet: no text by themselves, they belong to what comes next; and a header's, which is
    /// the content of a message that has no other.
    private var fragments: [ScoredToken] = []
    package private(set) var finishReason: String?
    package private(set) var stopReason: StopReason?
    package private(set) var completionTokens = 0
    private var reasoningCount = 0
    package var reasoningTokens: Int? { reasoningCount }

    /// - Parameter isScored: Whether log-probabilities are reported.
    package init(harmony: HarmonyEncoding, rules: StopRules, isScored: Bool) {
        self.harmony = harmony
        self.rules = rules
        self.isScored = isScored
        parser = ChatReplyParser(encoding: harmony)
        text = GuardedText(stops: rules.strings)
    }

    package mutating func take(_ event: GenerationEvent) -> Delta {
        var delta = Delta()
        if isScored { delta.logprobs = [] }
        switch event {
        case .prompt: break
        case .token(let token):
            completionTokens += 1
            take(token, into: &delta)
        case .finished(let reason):
            take(parser.finish(), into: &delta)
            add(text.finish(), to: &delta)
            finishReason = endReason(of: reason)
            noteStop()
        }
        return delta
    }

    private mutating func take(_ token: ScoredToken, into delta: inout Delta) {
        let endsMessage = harmony.endsMessage(token.id)
        if rules.tokens.contains(token.id) {
            stopReason = .token(token.id)
            guard endsMessage else { return }
        }
        if !endsMessage { fragments.append(token) }
        let events = parser.process(token.id)
        take(events, into: &delta)
        if !events.isEmpty || !(parser.isReadingHeader || isFragment(token.id)) { fragments = [] }
        noteStop()
    }

    private mutating func noteStop() {
        guard let match = text.match else { return }
        (finishReason, stopReason) = ("stop", .text(match))
    }

    private func endReason(of reason: FinishReason) -> String {
        if reason == .length { return "length" }
        return callCount > 0 && stopReason == nil ? "tool_calls" : "stop"
    }

    private mutating func take(_ events: [ChatReplyEvent], into delta: inout Delta) {
        if events.contains(where: \.isReasoning) { reasoningCount += fragments.count }
        for event in events { take(event, into: &delta) }
    }

    private mutating func take(_ event: ChatReplyEvent, into delta: inout Delta) {
        switch event {
        case .reasoning(let text): delta.reasoning += text
        case .content(let text):
            for token in fragments.dropLast() { add(self.text.append("", token: token), to: &delta) }
            let mayStop = completionTokens > rules.minTokens
            add(self.text.append(text, token: fragments.last, mayStop: mayStop), to: &delta)
            fragments = []
        case .toolCall(let name):
            callCount += 1
            delta.append(
                ToolCallDelta(
                    index: callCount - 1, beginning: .init(id: "call_" + Identifier.random(), name: name)))
        case .toolCallArguments(let text):
            delta.append(ToolCallDelta(index: max(0, callCount - 1), arguments: text))
        }
    }

    private func isFragment(_ token: Int32) -> Bool {
        harmony.bytes(of: token).map { String(validating: $0, as: UTF8.self) == nil } ?? false
    }

    private func add(_ piece: GuardedText.Piece, to delta: inout Delta) {
        delta.content += piece.text
        delta.logprobs?.append(contentsOf: piece.tokens.map { ChatLogprobs.entry($0.scored, harmony) })
    }
}

extension ChatReplyEvent {
    fileprivate var isReasoning: Bool { if case .reasoning = self { true } else { false } }
}
