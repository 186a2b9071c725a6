/// Where and how a token sequence departs from the format. The words are those of OpenAI's Harmony library, which refuses
/// such a sequence.
public struct HarmonyProblem: Error, Sendable, Equatable, CustomStringConvertible {
    enum Kind: Sendable, Equatable {
        case unexpectedToken(Int32, start: Int32)
        case unreadableHeader
        case emptyChannel
        case missingRole
        case unknownRole(String)
        case surplusWords(String)
        case unfinishedHeader
        /// The one that the library tolerates unless asked to be strict.
        case missingContent
    }

    let kind: Kind
    /// The index of the token at which it became apparent; the number of tokens where that was their end.
    public let tokenIndex: Int

    /// What is wrong.
    public var description: String {
        switch kind {
        case .unexpectedToken(let token, let start): "Unexpected token \(token) while expecting start token \(start)"
        case .unreadableHeader: "could not decode header"
        case .emptyChannel: "channel marker present but no channel value found in header"
        case .missingRole: "message header did not contain a role"
        case .unknownRole(let word): "Unknown role: \(word)"
        case .surplusWords(let words): "unexpected tokens remaining in message header: Some(\(Self.quoted(words)))"
        case .unfinishedHeader: "Unexpected EOS while waiting for message header to complete"
        case .missingContent: "message ended in its header"
        }
    }

    private static func quoted(_ text: String) -> String {
        "\"" + text.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : "\($0)" }.joined() + "\""
    }
}
