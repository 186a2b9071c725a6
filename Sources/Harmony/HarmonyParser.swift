/// A message as it was sampled.
public struct ParsedMessage: Sendable, Equatable {
    /// What OpenAI's Harmony library makes of it: header fields that may be odd, and one text.
    public let message: Message
    /// The text with nothing normalised or left out, which differs only where the message is garbled.
    public let text: String
    /// The text of its header, special tokens included.
    public let header: String
    /// Where it departs from the format.
    public let problems: [HarmonyProblem]
}

/// Turns tokens into messages as they are sampled.
///
/// Total: every token sequence yields messages. Where one departs from the format, the parser notes a problem, makes the
/// best of what it has, and keeps the text:
/// - in place of `<|start|>`: what comes is read as a header, of the assistant unless it names another role;
/// - a header that makes no sense: its fields are what can be made of it;
/// - a message that ends within its header: what follows the channel is its content.
///
/// A value: the state after a token depends on nothing but the tokens.
public struct HarmonyParser: Sendable {
    /// What the next token belongs to.
    public enum State: Sendable, Equatable {
        case expectingStart, header, content
    }

    /// What a token brought to light.
    public enum Output: Sendable, Equatable {
        /// More of the current message's content. Lags behind the tokens while a code point is incomplete.
        case delta(String)
        /// The message that the token ended; its text may end in more than the deltas said.
        case message(ParsedMessage)
    }

    /// What the next token belongs to.
    public private(set) var state: State
    /// All problems so far. The first is what OpenAI's library would have stopped at.
    public private(set) var problems: [HarmonyProblem] = []
    /// The number of tokens processed.
    public private(set) var tokenCount = 0

    private let encoding: HarmonyEncoding
    private let isStrict: Bool
    private var givenRole: Role?
    private var currentHeader: MessageHeader?
    private var headerBytes: [UInt8] = []
    private var isStray = false
    private var content = ContentDecoder()
    private var firstOwnProblem = 0

    /// Begins within the header of a message of that role, as prompts end; or, without one, before `<|start|>`.
    ///
    /// - Parameter strict: follow OpenAI's library in its strict mode up to the first problem: an ending token within a
    ///   header is then part of the header.
    public init(encoding: HarmonyEncoding, role: Role? = .assistant, strict: Bool = false) {
        self.encoding = encoding
        isStrict = strict
        givenRole = role
        state = role == nil ? .expectingStart : .header
    }

    /// The role of the current message, where it is known.
    public var currentRole: Role? { currentHeader?.role ?? givenRole }
    /// The channel of the message whose content is being read.
    public var currentChannel: String? { currentHeader?.channel }
    /// The recipient of the message whose content is being read.
    public var currentRecipient: String? { currentHeader?.recipient }
    /// The content type of the message whose content is being read.
    public var currentContentType: String? { currentHeader?.contentType }

    /// Takes the next token.
    public mutating func process(_ token: Int32) -> Output? {
        defer { tokenCount += 1 }
        let marker = encoding.marker(token)
        let ends = encoding.endsMessage(token)
        switch state {
        case .expectingStart:
            firstOwnProblem = problems.count
            if marker == .start {
                state = .header
            } else {
                note(.unexpectedToken(token, start: encoding.id(of: .start)))
                guard !ends else { return nil }
                isStray = true
                state = .header
                takeIntoHeader(token, marker)
            }
        case .header where ends && !isStrict:
            return endWithinHeader(.missingContent)
        case .header where isStray && marker == .start:
            defer { state = .header }
            return endWithinHeader(.missingContent)
        case .header:
            takeIntoHeader(token, marker)
        case .content where ends:
            return endContent()
        case .content:
            return content.append(encoding.bytes(of: token)).map { .delta($0) }
        }
        return nil
    }

    /// Ends the sequence: the message that it left unfinished, if any.
    public mutating func finish() -> ParsedMessage? {
        let output: Output? =
            switch state {
            case .expectingStart: nil
            case .header: endWithinHeader(.unfinishedHeader)
            case .content: endContent()
            }
        guard case .message(let message) = output else { return nil }
        return message
    }

    private mutating func note(_ kind: HarmonyProblem.Kind) {
        problems.append(HarmonyProblem(kind: kind, tokenIndex: tokenCount))
    }

    private mutating func takeIntoHeader(_ token: Int32, _ marker: Marker?) {
        guard marker == .message else {
            // 0xFF is in no UTF-8 text: an id without a token makes the header as unreadable as a byte that does not fit.
            headerBytes += encoding.bytes(of: token) ?? [0xFF]
            return
        }
        let (header, problem) = MessageHeader.reading(headerBytes, role: givenRole)
        if let problem { note(problem) }
        currentHeader = header
        state = .content
    }

    private mutating func endWithinHeader(_ kind: HarmonyProblem.Kind) -> Output? {
        if !isStray { note(kind) }
        guard !headerBytes.isEmpty else {
            beginNext()
            return nil
        }
        let (header, text, verbatim) = MessageHeader.readingMessage(headerBytes, role: givenRole)
        return .message(endMessage(header, text: text, verbatim: verbatim))
    }

    private mutating func endContent() -> Output? {
        guard let currentHeader else { return nil }
        let (text, verbatim) = content.finish()
        return .message(endMessage(currentHeader, text: text, verbatim: verbatim))
    }

    private mutating func endMessage(_ header: MessageHeader, text: String, verbatim: String) -> ParsedMessage {
        defer { beginNext() }
        return ParsedMessage(
            message: Message(
                role: header.role, name: header.name, recipient: header.recipient, channel: header.channel,
                contentType: header.contentType, text: text),
            text: verbatim, header: String(decoding: headerBytes, as: UTF8.self),
            problems: Array(problems[firstOwnProblem...]))
    }

    private mutating func beginNext() {
        state = .expectingStart
        givenRole = nil
        currentHeader = nil
        headerBytes.removeAll(keepingCapacity: true)
        isStray = false
        firstOwnProblem = problems.count
    }
}
