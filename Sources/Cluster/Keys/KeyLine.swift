/// A line of a key file: a label, so that a private key is never taken for a public one, the key, and for public keys a
/// name.
///
///     shoal-public-key KEY NAME
///     shoal-private-key KEY
///
/// KEY is Z85. Empty lines, and those that begin with `#`, say nothing.
package enum KeyLine: Equatable {
    case publicKey(PublicKey, name: String)
    case privateKey(String)

    static let publicLabel = "shoal-public-key"
    static let privateLabel = "shoal-private-key"

    /// Nil for a line that says nothing.
    /// - Throws: ``ClusterError`` for any other line, without repeating it: it may hold a secret.
    package static func parse(_ line: Substring) throws -> KeyLine? {
        let words = line.split(maxSplits: 2, whereSeparator: \.isWhitespace)
        guard let label = words.first, !label.hasPrefix("#") else { return nil }
        switch label {
        case publicLabel:
            guard words.count > 1, let key = PublicKey(words[1]) else { throw ClusterError(notAKey) }
            let name = words.count > 2 ? String(words[2].prefix(256)) : ""
            return .publicKey(key, name: name.trimmingSpace)
        case privateLabel:
            guard words.count == 2, Z85.isKey(String(words[1])) else { throw ClusterError(notAKey) }
            return .privateKey(String(words[1]))
        default:
            throw ClusterError("expected '\(publicLabel) KEY NAME' or '# comment'")
        }
    }

    package var text: String {
        switch self {
        case .publicKey(let key, let name): "\(Self.publicLabel) \(key)" + (name.isEmpty ? "" : " \(name)")
        case .privateKey(let key): "\(Self.privateLabel) \(key)"
        }
    }

    private static let notAKey = "what follows the label is no key; expected \(Z85.keyCharacters) characters of Z85"
}

extension String {
    fileprivate var trimmingSpace: String {
        String(reversed().drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace))
    }
}
