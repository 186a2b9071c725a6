public import Tokenization

/// A tokenizer lacks a special token of the format.
public struct HarmonyEncodingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Which one, and the remedy.
    public let description: String
}

/// The Harmony format in the tokens of one vocabulary: conversations to tokens, and tokens to text.
public struct HarmonyEncoding: Sendable {
    /// The vocabulary.
    public let tokenizer: Tokenizer
    /// The tokens after which a reply is complete, `<|return|>` and `<|call|>`. (`<|end|>` ends a message, but another
    /// may follow.)
    public let stopTokens: Set<Int32>

    private let ids: [Marker: Int32]
    private let markers: [Int32: Marker]

    /// Finds the format's special tokens by their texts: other vocabularies have them under other ids.
    /// - Throws: ``HarmonyEncodingError``.
    public init(tokenizer: Tokenizer) throws(HarmonyEncodingError) {
        var ids: [Marker: Int32] = [:]
        for marker in Marker.allCases {
            guard let id = tokenizer.specialToken(marker.rawValue) else {
                throw HarmonyEncodingError(
                    description: "the tokenizer has no special token \(marker.rawValue): use the tokenizer.json of a "
                        + "gpt-oss checkpoint")
            }
            ids[marker] = id
        }
        self.tokenizer = tokenizer
        self.ids = ids
        markers = Dictionary(ids.map { ($1, $0) }) { first, _ in first }
        stopTokens = Set([Marker.return, .call].compactMap { ids[$0] })
    }

    /// The prompt: the conversation, and the beginning of the next message.
    ///
    /// - Parameters:
    ///   - nextRole: who is to speak.
    ///   - droppingAnalysis: leave out the reasoning before the first final answer when the assistant's latest message
    ///     is a final answer, as gpt-oss was trained.
    /// - Throws: ``RenderingError``.
    public func prompt(
        for conversation: Conversation, nextRole: Role = .assistant, droppingAnalysis: Bool = true
    ) throws(RenderingError) -> [Int32] {
        let pieces = try conversation.rendered(droppingAnalysis: droppingAnalysis)
        return tokens(of: pieces + [.marker(.start), .text(nextRole.rawValue)])
    }

    /// The conversation as an example to learn from: a final answer at its end is closed by `<|return|>`.
    /// - Throws: ``RenderingError``.
    public func trainingTokens(
        for conversation: Conversation, droppingAnalysis: Bool = true
    ) throws(RenderingError) -> [Int32] {
        var pieces = try conversation.rendered(droppingAnalysis: droppingAnalysis)
        if let last = conversation.messages.last, last.role == .assistant, last.channel == Channel.final.rawValue {
            pieces[pieces.count - 1] = .marker(.return)
        }
        return tokens(of: pieces)
    }

    private func tokens(of pieces: [RenderedPiece]) -> [Int32] {
        pieces.flatMap { piece in
            switch piece {
            case .marker(let marker): ids[marker].map { [$0] } ?? []
            case .text(let text): tokenizer.encode(text)
            }
        }
    }

    /// Which of the format's special tokens this is, if any.
    func marker(_ token: Int32) -> Marker? { markers[token] }

    /// Whether this token ends a message, and so is never text of one.
    package func endsMessage(_ token: Int32) -> Bool {
        switch marker(token) {
        case .end, .return, .call: true
        default: false
        }
    }

    /// The id of a special token.
    func id(of marker: Marker) -> Int32 { ids[marker] ?? -1 }

    /// The last id that OpenAI's o200k_harmony has a name for.
    private static let lastNamedToken: Int32 = 201_088

    /// The text's bytes; nil for ids that can be in no vocabulary.
    ///
    /// Models have rows for more ids than their tokenizer has tokens, and may sample them: like OpenAI's o200k_harmony,
    /// these read `<|reserved_ID|>`.
    package func bytes(of token: Int32) -> [UInt8]? {
        if let bytes = tokenizer.bytes(of: token) { return bytes }
        return (0...Self.lastNamedToken).contains(token) ? Array("<|reserved_\(token)|>".utf8) : nil
    }
}
