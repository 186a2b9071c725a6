public import Foundation
import JSON

/// Byte-level BPE as gpt-oss uses it (o200k).
public final class Tokenizer: Sendable {
    /// Which special tokens' texts are recognised inside the text being encoded; all others are plain text.
    public enum SpecialTokens: Sendable {
        case none
        case all
        case only(Set<String>)
    }

    private let vocabulary: Vocabulary
    private let merges: Merges
    private let ignoreMerges: Bool
    private let preTokenizer: PreTokenizer
    private let specialTokens: SpecialTokenTrie
    private let specialIDs: Set<Int32>

    /// Reads a `tokenizer.json`.
    /// - Throws: ``TokenizerError``.
    public convenience init(contentsOf file: URL) throws {
        let json: Data
        do {
            json = try Data(contentsOf: file)
        } catch {
            let reason = access(file.path, R_OK) == 0 ? "it is no file" : String(cString: strerror(errno))
            throw TokenizerError(
                description:
                    "\(file.path) cannot be read (\(reason)); copy the tokenizer.json that "
                    + "belongs to the model there")
        }
        try self.init(json: json)
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// All added tokens are taken for special ones, whatever their `special` flag says.
    /// - Throws: ``TokenizerError`` where the text is not JSON, not sound, or not byte-level BPE as gpt-oss uses it.
    public init(json: some Sequence<UInt8>) throws {
        let root: JSONValue
        do {
            root = try JSONValue(parsing: json)
        } catch {
            throw TokenizerError(description: "tokenizer.json: \(error)")
        }
        let file = try TokenizerFile(root)
        preTokenizer = try PreTokenizer.o200k.get()
        vocabulary = try Vocabulary(file)
        merges = try Merges(file, vocabulary: vocabulary)
        ignoreMerges = file.ignoreMerges
        specialTokens = SpecialTokenTrie(file.addedTokens)
        specialIDs = Set(file.addedTokens.keys)
    }

    /// One more than the largest token id.
    public var idCount: Int { vocabulary.idCount }

    /// The id of a special (added) token by its exact text, such as `<|start|>`.
    public func specialToken(_ text: String) -> Int32? { specialTokens.token(text) }

    /// Whether the id is that of a special (added) token.
    public func isSpecial(_ token: Int32) -> Bool { specialIDs.contains(token) }

    /// Token ids of a text. Time is linear in the text, but for a logarithm in the length of its longest word.
    ///
    /// Of special tokens that begin at the same place the longest is recognised. The text between two of them is
    /// encoded as if it stood alone.
    public func encode(_ text: String, specialTokens: SpecialTokens = .none) -> [Int32] {
        let allowed: Set<Int32> =
            switch specialTokens {
            case .none: []
            case .all: specialIDs
            case .only(let texts): Set(texts.compactMap(specialToken))
            }
        var text = text
        return text.withUTF8 { encode($0[...], specialTokens: allowed) }
    }

    private func encode(_ text: TextBytes, specialTokens allowed: Set<Int32>) -> [Int32] {
        var encoder = PieceEncoder(vocabulary: vocabulary, merges: merges, ignoreMerges: ignoreMerges)
        var tokens: [Int32] = []
        tokens.reserveCapacity(text.count / 4)
        var remaining = text
        while !remaining.isEmpty {
            let special = allowed.isEmpty ? nil : specialTokens.first(in: remaining, where: allowed.contains)
            preTokenizer.forEachPiece(of: remaining[..<(special?.range.lowerBound ?? remaining.endIndex)]) {
                encoder.encode($0, into: &tokens)
            }
            guard let special else { break }
            tokens.append(special.token)
            remaining = remaining[special.range.upperBound...]
        }
        return tokens
    }

    /// The bytes a token stands for; nil where no token has that id.
    public func bytes(of token: Int32) -> [UInt8]? { vocabulary[token].map(Array.init) }

    /// A token as `tokenizer.json` writes it: special tokens as they are, the others in GPT-2's alphabet, in which each
    /// byte is a printable character. Nil where no token has that id.
    public func vocabularyEntry(of token: Int32) -> String? {
        bytes(of: token).map { isSpecial(token) ? String(decoding: $0, as: UTF8.self) : ByteAlphabet.word(for: $0) }
    }

    /// The text of the tokens, one U+FFFD for each maximal invalid subpart; ids without a token give U+FFFD too.
    public func decode(_ tokens: some Sequence<Int32>) -> String {
        var bytes: [UInt8] = []
        for token in tokens { append(token, to: &bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Appends a token's bytes. 0xFF, which is in no UTF-8 and ends any code point before it, stands for an id without
    /// a token.
    func append(_ token: Int32, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: vocabulary[token] ?? [0xFF])
    }
}
