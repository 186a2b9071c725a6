/// What stands between `<|start|>` and `<|message|>`: `ROLE to=RECIPIENT<|channel|>CHANNEL CONTENT_TYPE`, in which a
/// model may put the recipient behind the channel, too.
struct MessageHeader: Sendable, Equatable {
    var role: Role
    var name: String?
    var recipient: String?
    var channel: String?
    var contentType: String?

    /// Reads any bytes. Where they depart from the format, says what OpenAI's library would say, and makes the best of
    /// them.
    ///
    /// - Parameter role: the role where the prompt has already given it; nil to read it from the header.
    static func reading(_ bytes: [UInt8], role: Role?) -> (header: MessageHeader, problem: HarmonyProblem.Kind?) {
        let scan = HeaderScan(bytes)
        var header = MessageHeader(role: role ?? .assistant, channel: scan.channel)
        var words = scan.words[...]
        let roleProblem = role == nil ? header.takeRole(from: &words) : nil
        if words.first == header.role.rawValue { words.removeFirst() }
        let surplus = header.takeRecipientAndContentType(from: Array(words))
        return (header, scan.problem ?? roleProblem ?? surplus)
    }

    /// Reads the bytes of a message that ended before its `<|message|>`: what follows role and channel is its content.
    ///
    /// - Returns: the content as OpenAI's library gives it, white space reduced to single spaces, and as it was.
    static func readingMessage(
        _ bytes: [UInt8], role: Role?
    ) -> (header: MessageHeader, text: String, verbatim: String) {
        let scan = HeaderScan(bytes)
        let role = role ?? scan.words.first.flatMap(Role.init(rawValue:)) ?? .assistant
        let header = MessageHeader(role: role, channel: scan.channel)
        guard scan.words.first == role.rawValue else { return (header, scan.words.joined(separator: " "), scan.rest) }
        let verbatim = scan.rest.unicodeScalars.dropFirst(role.rawValue.utf8.count).drop(
            while: \.properties.isWhitespace)
        return (header, scan.words.dropFirst().joined(separator: " "), String(verbatim))
    }

    private mutating func takeRole(from words: inout ArraySlice<String>) -> HarmonyProblem.Kind? {
        guard let word = words.first else { return .missingRole }
        if let known = Role(rawValue: word) {
            role = known
        } else {
            words.removeFirst()
            // A tool writes its name in place of a role, and a recipient after it.
            guard !words.isEmpty || word.utf8.starts(with: "to=".utf8) else { return .unknownRole(word) }
            role = .tool
        }
        if role == .tool { name = word }
        return nil
    }

    /// The words are a recipient, which may lack its "to=", and a content type, which never stands alone.
    private mutating func takeRecipientAndContentType(from words: [String]) -> HarmonyProblem.Kind? {
        guard let last = words.last else { return nil }
        let endsWithRecipient = words.count == 1 || Self.recipient(last) != nil
        let surplus = words.dropLast(endsWithRecipient ? 1 : 2)
        if surplus.isEmpty {
            recipient = Self.recipient(words[0]) ?? words[0]
            contentType = endsWithRecipient ? nil : last
            return nil
        }
        let index = words.firstIndex { Self.recipient($0) != nil }
        recipient = index.flatMap { Self.recipient(words[$0]) }
        contentType = words.indices.filter { $0 != index }.map { words[$0] }.joined(separator: " ")
        return .surplusWords(surplus.joined(separator: " "))
    }

    private static func recipient(_ word: String) -> String? {
        word.utf8.starts(with: "to=".utf8) ? String(decoding: word.utf8.dropFirst(3), as: UTF8.self) : nil
    }
}

/// A header's channel, and its other words.
///
/// Works on Unicode scalars: a combining mark behind a marker must not hide it, as it would among `Character`s.
private struct HeaderScan {
    var channel: String?
    var problem: HarmonyProblem.Kind?
    /// What is left without marker and name of the channel, trimmed.
    let rest: String
    let words: [String]

    init(_ bytes: [UInt8]) {
        let valid = String(validating: bytes, as: UTF8.self)
        if valid == nil { problem = .unreadableHeader }
        let text = (valid ?? String(decoding: bytes, as: UTF8.self)).unicodeScalars

        var rest = String(text)
        if let marker = text.firstRange(of: Marker.channel.rawValue.unicodeScalars) {
            let endsName = { (scalar: Unicode.Scalar) in scalar.properties.isWhitespace || scalar == "<" }
            var name = text[marker.upperBound...].prefix { !endsName($0) }
            if name.isEmpty {
                problem = problem ?? .emptyChannel
                name = text[marker.upperBound...].drop(while: \.properties.isWhitespace).prefix { !endsName($0) }
            }
            channel = name.isEmpty ? nil : String(name)
            rest = String(text[..<marker.lowerBound]) + String(text[name.endIndex...])
        }
        self.rest = String(rest.unicodeScalars.trimmed)

        // A content type may follow the recipient without a space.
        let constrain = Marker.constrain.rawValue
        let spaced = self.rest.unicodeScalars.replacing(constrain.unicodeScalars, with: " \(constrain)".unicodeScalars)
        words = spaced.trimmed.split { $0.isASCII && $0.properties.isWhitespace && $0 != "\u{B}" }.map { String($0) }
    }
}

extension BidirectionalCollection<Unicode.Scalar> {
    fileprivate var trimmed: SubSequence {
        var trimmed = drop(while: \.properties.isWhitespace)
        while trimmed.last?.properties.isWhitespace == true { trimmed.removeLast() }
        return trimmed
    }
}
