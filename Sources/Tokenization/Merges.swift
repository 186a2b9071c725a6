import JSON

/// Which pairs of tokens become one, and in which order: the lowest rank first.
struct Merges: Sendable {
    struct Merge {
        let rank: Int32
        let token: Int32
    }

    /// A rank takes 24 bits.
    private static let maximumCount = 1 << 24

    private var merges: [UInt64: Merge] = [:]

    init(_ file: TokenizerFile, vocabulary: Vocabulary) throws(TokenizerError) {
        let count = Int32(clamping: file.merges.count)
        guard count <= Self.maximumCount else {
            throw TokenizerFile.error("model.merges", "\(count) are more than \(Self.maximumCount)")
        }
        merges.reserveCapacity(Int(count))
        var bytes: [UInt8] = []
        for rank in 0..<count {
            let (left, right) = try Self.words(file.merges[Int(rank)], rank: rank)
            bytes.removeAll(keepingCapacity: true)
            var known = ByteAlphabet.append(left, to: &bytes)
            let middle = bytes.count
            known = ByteAlphabet.append(right, to: &bytes) && known
            let tokens = bytes.withUnsafeBufferPointer { bytes in
                (vocabulary.token(bytes[..<middle]), vocabulary.token(bytes[middle...]), vocabulary.token(bytes[...]))
            }
            guard known, case (let leftToken?, let rightToken?, let token?) = tokens else {
                throw TokenizerFile.error(
                    "model.merges[\(rank)]",
                    "\(TokenizerFile.quoted(left)), \(TokenizerFile.quoted(right)), or both together, are not in model.vocab"
                )
            }
            merges[Self.key(leftToken, rightToken)] = Merge(rank: rank, token: token)
        }
    }

    /// What two neighbouring tokens become, if anything.
    subscript(left: Int32, right: Int32) -> Merge? { merges[Self.key(left, right)] }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// A merge is written `["a", "b"]`, in older files `"a b"`.
    private static func words(_ value: JSONValue, rank: Int32) throws(TokenizerError) -> (String, String) {
        switch value {
        case .array(let pair) where pair.count == 2:
            if case (.string(let left), .string(let right)) = (pair[0], pair[1]) { return (left, right) }
        case .string(let text):
            let pair = text.split(separator: " ", omittingEmptySubsequences: false)
            if pair.count == 2 { return (String(pair[0]), String(pair[1])) }
        default: break
        }
        throw TokenizerFile.error("model.merges[\(rank)]", found: value, expected: "two words of model.vocab")
    }
}
