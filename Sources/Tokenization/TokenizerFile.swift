import JSON

/// What a `tokenizer.json` (Hugging Face tokenizers) says, after everything that gpt-oss does not use was found absent.
struct TokenizerFile {
    /// The words of the vocabulary in the byte alphabet, by id up to the largest of all tokens; nil where the id has
    /// none.
    private(set) var words: [String?] = []
    /// The texts of the added tokens, by id.
    private(set) var addedTokens: [Int32: String] = [:]
    /// In order of rank: two words each.
    let merges: [JSONValue]
    /// Whether a piece that is itself a token is taken whole.
    let ignoreMerges: Bool

    /// Far beyond any vocabulary in use: what a table by id may take is bounded, whatever ids the file has.
    private static let idLimit = 1 << 20

    /// Bounds the time that searching for added tokens takes at each position of a text.
    private static let maximumAddedLength = 256

    init(_ root: JSONValue) throws(TokenizerError) {
        guard case .object(let model)? = root["model"] else {
            throw Self.error("model", found: root["model"], expected: "an object")
        }
        try Self.checkPipeline(of: root, model: model)
        guard case .array(let merges)? = model["merges"] else {
            throw Self.error("model.merges", found: model["merges"], expected: "an array")
        }
        self.merges = merges
        switch model["ignore_merges"] {
        case .bool(let value)?: ignoreMerges = value
        case nil, .null?: ignoreMerges = false
        case let value: throw Self.error("model.ignore_merges", found: value, expected: "true or false")
        }
        try readVocabulary(model["vocab"])
        try readAddedTokens(root["added_tokens"])
    }

    private mutating func readVocabulary(_ value: JSONValue?) throws(TokenizerError) {
        guard case .object(let vocabulary)? = value else {
            throw Self.error("model.vocab", found: value, expected: "an object")
        }
        words.reserveCapacity(min(vocabulary.members.count, Self.idLimit))
        for member in vocabulary.members {
            let id = Int(try Self.id(member.value, of: "model.vocab[\(Self.quoted(member.name))]"))
            makeRoom(for: id)
            if let other = words[id] {
                throw Self.error(
                    "model.vocab", "\(Self.quoted(other)) and \(Self.quoted(member.name)) have the same id \(id)")
            }
            words[id] = member.name
        }
    }

    private mutating func readAddedTokens(_ value: JSONValue?) throws(TokenizerError) {
        if value == nil || value == .null { return }
        guard case .array(let tokens)? = value else {
            throw Self.error("added_tokens", found: value, expected: "an array")
        }
        var contents: Set<[UInt8]> = []
        for (index, token) in tokens.enumerated() {
            let name = "added_tokens[\(index)]"
            guard case .string(let content)? = token["content"], !content.isEmpty else {
                throw Self.error("\(name).content", found: token["content"], expected: "a text")
            }
            guard content.utf8.count <= Self.maximumAddedLength else {
                throw Self.error(
                    "\(name).content", "\(content.utf8.count) bytes, expected at most \(Self.maximumAddedLength)")
            }
            for flag in ["lstrip", "rstrip", "single_word"] where (token[flag] ?? false) != false {
                throw Self.error("\(name).\(flag)", found: token[flag], expected: "false")
            }
            let id = try Self.id(token["id"], of: "\(name).id")
            guard contents.insert(Array(content.utf8)).inserted, addedTokens[id] == nil else {
                throw Self.error(name, "\(Self.quoted(content)), id \(id), repeats an earlier token's text or id")
            }
            makeRoom(for: Int(id))
            if let word = words[Int(id)], !word.utf8.elementsEqual(content.utf8) {
                throw Self.error(
                    name, "\(Self.quoted(content)) has the id \(id) of \(Self.quoted(word)) in model.vocab")
            }
            addedTokens[id] = content
        }
    }

    private mutating func makeRoom(for id: Int) {
        while words.count <= id { words.append(nil) }
    }

    private static func id(_ value: JSONValue?, of name: @autoclosure () -> String) throws(TokenizerError) -> Int32 {
        guard let id = value?.integer, (0..<idLimit).contains(id) else {
            throw error(name(), found: value, expected: "a token id from 0 to \(idLimit - 1)")
        }
        return Int32(id)
    }
}

extension TokenizerFile {
    static func quoted(_ word: String) -> String { "'\(String(word.unicodeScalars.prefix(60)))'" }

    static func error(_ name: String, _ problem: String) -> TokenizerError {
        TokenizerError(description: "tokenizer.json: \(name): \(problem)")
    }

    static func error(_ name: String, found: JSONValue?, expected: String) -> TokenizerError {
        let description =
            switch found {
            case .string, .number, .bool: found?.serialized.prefix(300)
            default: found?.kind[...]
            }
        return error(name, "found \(description ?? "nothing"), expected \(expected)")
    }
}
