/// A piece of a reply as OpenAI's chat-completions API shows it.
public enum ChatReplyEvent: Sendable, Equatable {
    /// More reasoning.
    case reasoning(String)
    /// More of what the user is to read.
    case content(String)
    /// A call of the function of that name begins; the calls of a reply are numbered by these events.
    case toolCall(name: String)
    /// More of the arguments of the call that began last. Verbatim: JSON only if the model kept to it.
    case toolCallArguments(String)
}

/// Turns sampled tokens into a well-formed reply, whatever the model samples.
///
/// What is addressed to a function is a call of it. Of the rest, the `analysis` channel is reasoning, and everything
/// else is content: the `final` channel and preambles in `commentary`, and, because garbled text must not be lost, what
/// has no known channel. Messages of the same kind are set apart by a blank line.
public struct ChatReplyParser: Sendable {
    private enum Sink: Sendable { case reasoning, content, arguments }

    /// Whether anything so far departed from the format.
    public private(set) var isGarbled = false
    private var parser: HarmonyParser
    /// Where the current message's text goes; nil between messages.
    private var sink: Sink?
    /// How much of the current message's text has gone there, in bytes.
    private var emittedCount = 0
    private var usedSinks: Set<Sink> = []

    /// Whether the last token belongs to a header; it is content after all where the message ends within its header.
    public var isReadingHeader: Bool { parser.state == .header }

    /// Begins after a prompt that ends with the assistant's role.
    public init(encoding: HarmonyEncoding) {
        parser = HarmonyParser(encoding: encoding)
    }

    /// Takes the next token.
    public mutating func process(_ token: Int32) -> [ChatReplyEvent] {
        let output = parser.process(token)
        var events: [ChatReplyEvent] = []
        if parser.state == .content, sink == nil {
            begin(
                role: parser.currentRole, recipient: parser.currentRecipient, channel: parser.currentChannel,
                into: &events)
        }
        switch output {
        case .delta(let text): emit(text, into: &events)
        case .message(let message): end(message, into: &events)
        case nil: break
        }
        isGarbled = isGarbled || !parser.problems.isEmpty
        return events
    }

    /// Ends the reply, finished or not: what was still held back.
    public mutating func finish() -> [ChatReplyEvent] {
        var events: [ChatReplyEvent] = []
        if let message = parser.finish() { end(message, into: &events) }
        isGarbled = isGarbled || !parser.problems.isEmpty
        return events
    }

    private mutating func begin(role: Role?, recipient: String?, channel: String?, into events: inout [ChatReplyEvent])
    {
        emittedCount = 0
        let prefix = "\(ToolNamespace.functions).".utf8
        if let name = recipient?.utf8, name.starts(with: prefix), name.count > prefix.count {
            sink = .arguments
            events.append(.toolCall(name: String(decoding: name.dropFirst(prefix.count), as: UTF8.self)))
        } else {
            sink = channel == Channel.analysis.rawValue ? .reasoning : .content
            // A lone content type, as in "final <|constrain|>json", reads as a recipient.
            let isAddressed = recipient.map { !$0.utf8.starts(with: Marker.constrain.rawValue.utf8) } ?? false
            isGarbled = isGarbled || isAddressed || channel.flatMap(Channel.init(rawValue:)) == nil
        }
        if role != .assistant { isGarbled = true }
    }

    private mutating func end(_ message: ParsedMessage, into events: inout [ChatReplyEvent]) {
        if sink == nil {
            begin(
                role: message.message.role, recipient: message.message.recipient, channel: message.message.channel,
                into: &events)
        }
        emit(String(decoding: message.text.utf8.dropFirst(emittedCount), as: UTF8.self), into: &events)
        sink = nil
    }

    private mutating func emit(_ text: String, into events: inout [ChatReplyEvent]) {
        guard !text.isEmpty, let sink else { return }
        let isFirst = emittedCount == 0
        emittedCount += text.utf8.count
        let separator = isFirst && usedSinks.contains(sink) ? "\n\n" : ""
        switch sink {
        case .reasoning: events.append(.reasoning(separator + text))
        case .content: events.append(.content(separator + text))
        case .arguments: events.append(.toolCallArguments(text))
        }
        usedSinks.insert(sink)
    }
}
