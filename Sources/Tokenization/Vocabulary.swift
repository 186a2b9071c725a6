/// The bytes of every token, and the token of given bytes.
struct Vocabulary: Sendable {
    /// The tokens' bytes one after the other: token t has those from `starts[t]` to `starts[t + 1]`, none where no
    /// token has that id.
    private let bytes: [UInt8]
    private let starts: [Int]
    /// A hash table with linear probing and at least as many empty slots, -1, as tokens. Swift's hashing is seeded for
    /// each process, so no file can make its words collide.
    private var slots: [Int32]
    /// The token of each single byte.
    private(set) var byteTokens: [Int32] = []

    init(_ file: TokenizerFile) throws(TokenizerError) {
        var bytes: [UInt8] = []
        var starts = [0]
        for (id, word) in file.words.enumerated() {
            if let added = file.addedTokens[Int32(id)] {
                bytes.append(contentsOf: added.utf8)
            } else if let word {
                guard !word.isEmpty, ByteAlphabet.append(word, to: &bytes) else {
                    throw TokenizerFile.error(
                        "model.vocab", "\(TokenizerFile.quoted(word)), id \(id), is not written in the byte alphabet")
                }
            }
            starts.append(bytes.count)
        }
        self.bytes = bytes
        self.starts = starts
        slots = []
        try index(file.words)
    }

    private mutating func index(_ words: [String?]) throws(TokenizerError) {
        var capacity = 2
        while capacity < 2 * words.count { capacity *= 2 }
        slots = [Int32](repeating: -1, count: capacity)
        for (id, word) in zip(Int32(0)..., words) where word != nil {
            self[id]?.withUnsafeBufferPointer { slots[slot(of: $0[...])] = id }
        }
        for byte in UInt8.min...UInt8.max {
            guard let token = withUnsafeBytes(of: byte, { token($0.bindMemory(to: UInt8.self)[...]) }) else {
                throw TokenizerFile.error("model.vocab", "no token for the byte \(byte), expected one for each byte")
            }
            byteTokens.append(token)
        }
    }

    /// One more than the largest token id.
    var idCount: Int { starts.count - 1 }

    /// A token's bytes; nil where no token has that id.
    subscript(id: Int32) -> ArraySlice<UInt8>? {
        guard (0..<idCount).contains(Int(id)) else { return nil }
        let range = starts[Int(id)]..<starts[Int(id) + 1]
        return range.isEmpty ? nil : bytes[range]
    }

    /// The token of these bytes that is not an added one.
    func token(_ piece: TextBytes) -> Int32? {
        let id = slots[slot(of: piece)]
        return id < 0 ? nil : id
    }

    /// The slot that holds these bytes' token, or the empty one where it would belong.
    private func slot(of piece: TextBytes) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: piece)))
        var slot = hasher.finalize() & (slots.count - 1)
        while slots[slot] >= 0, self[slots[slot]]?.elementsEqual(piece) != true {
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }
}
