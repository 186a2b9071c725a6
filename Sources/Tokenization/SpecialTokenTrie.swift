/// Finds added tokens in text: the leftmost, and of those that begin there the longest.
struct SpecialTokenTrie: Sendable {
    /// Node and byte to node; the root is 0.
    private var edges: [UInt64: Int32] = [:]
    /// The token that ends at a node, or -1.
    private var tokens: [Int32] = [-1]
    /// Whether a token begins with a byte: most positions of a text need no more than this.
    private var begins = [Bool](repeating: false, count: 0x100)

    init(_ texts: [Int32: String]) {
        for (token, text) in texts {
            var node: Int32 = 0
            for byte in text.utf8 {
                let edge = Self.edge(node, byte)
                if let next = edges[edge] {
                    node = next
                } else {
                    node = Int32(tokens.count)
                    edges[edge] = node
                    tokens.append(-1)
                }
            }
            tokens[Int(node)] = token
            if let first = text.utf8.first { begins[Int(first)] = true }
        }
    }

    private static func edge(_ node: Int32, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    /// The first added token in a text that `allowed` admits.
    func first(
        in text: TextBytes, where allowed: (Int32) -> Bool
    ) -> (token: Int32, range: Range<Int>)? {
        for start in text.indices where begins[Int(text[start])] {
            var found: (Int32, Range<Int>)?
            var node: Int32 = 0
            for index in start..<text.endIndex {
                guard let next = edges[Self.edge(node, text[index])] else { break }
                node = next
                let token = tokens[Int(node)]
                if token >= 0, allowed(token) { found = (token, start..<index + 1) }
            }
            if let found { return found }
        }
        return nil
    }

    /// The token of exactly this text.
    func token(_ text: String) -> Int32? {
        var node: Int32 = 0
        for byte in text.utf8 {
            guard let next = edges[Self.edge(node, byte)] else { return nil }
            node = next
        }
        return tokens[Int(node)] < 0 ? nil : tokens[Int(node)]
    }
}
