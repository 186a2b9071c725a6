/// Merges the bytes of one piece after the other into tokens. Its memory is kept from piece to piece.
///
/// The neighbours with the lowest rank are merged first, the leftmost of equals, as Sennrich et al. 2016 do. A linked
/// list of tokens and a heap of the pairs that can be merged take n log n steps.
struct PieceEncoder {
    private struct Node {
        var token: Int32
        /// The merge of this token and the next; a negative rank where there is none.
        var rank: Int32 = -1
        var merged: Int32 = -1
        /// Indices of the neighbours; -1 and the count at the ends.
        var previous: Int
        var next: Int
    }

    /// A merge's rank and, below its 40 bits, which no text's length reaches, the position of its left token.
    private typealias Candidate = UInt64

    private let vocabulary: Vocabulary
    private let merges: Merges
    private let ignoreMerges: Bool
    private var nodes: [Node] = []
    private var candidates = MinimumHeap<Candidate>()

    init(vocabulary: Vocabulary, merges: Merges, ignoreMerges: Bool) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.ignoreMerges = ignoreMerges
    }

    /// Appends the tokens of a piece that is not empty.
    mutating func encode(_ piece: TextBytes, into tokens: inout [Int32]) {
        if ignoreMerges, let token = vocabulary.token(piece) {
            tokens.append(token)
            return
        }
        nodes.removeAll(keepingCapacity: true)
        for byte in piece {
            nodes.append(
                Node(token: vocabulary.byteTokens[Int(byte)], previous: nodes.count - 1, next: nodes.count + 1))
        }
        for position in nodes.indices { findMerge(at: position) }
        while let candidate = candidates.popMinimum() {
            let position = Int(candidate & (1 << 40 - 1))
            // A rank belongs to one pair, so a pair that has changed since has another one.
            if nodes[position].rank == candidate >> 40 { merge(at: position) }
        }
        var position = 0
        while position < nodes.count {
            tokens.append(nodes[position].token)
            position = nodes[position].next
        }
    }

    private mutating func merge(at position: Int) {
        let consumed = nodes[position].next
        let next = nodes[consumed].next
        nodes[position].token = nodes[position].merged
        nodes[position].next = next
        nodes[consumed].rank = -1
        if next < nodes.count { nodes[next].previous = position }
        findMerge(at: position)
        if position > 0 { findMerge(at: nodes[position].previous) }
    }

    private mutating func findMerge(at position: Int) {
        let next = nodes[position].next
        guard next < nodes.count, let merge = merges[nodes[position].token, nodes[next].token] else {
            nodes[position].rank = -1
            return
        }
        nodes[position].rank = merge.rank
        nodes[position].merged = merge.token
        candidates.insert(UInt64(merge.rank) << 40 | UInt64(position))
    }
}
