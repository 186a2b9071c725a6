/// Watches text for stop strings as it comes in pieces, and holds back what may turn out to be the beginning of one.
///
/// Each stop string has a Knuth-Morris-Pratt automaton over bytes, so a byte costs the same however long the strings are.
package struct StopStrings: Sendable {
    private struct Automaton {
        let pattern: [UInt8]
        /// `failure[i]`: the length of the longest proper prefix of the pattern that ends its first i + 1 bytes.
        let failure: [Int]
        /// How many bytes of the pattern the text ends with.
        var matched = 0

        init(_ text: String) {
            pattern = Array(text.utf8)
            var failure = [Int](repeating: 0, count: pattern.count)
            var length = 0
            for index in pattern.indices.dropFirst() {
                while length > 0, pattern[index] != pattern[length] { length = failure[length - 1] }
                if pattern[index] == pattern[length] { length += 1 }
                failure[index] = length
            }
            self.failure = failure
        }

        /// Whether the pattern ends with this byte.
        mutating func advance(_ byte: UInt8) -> Bool {
            while matched > 0, pattern[matched] != byte { matched = failure[matched - 1] }
            if pattern[matched] == byte { matched += 1 }
            guard matched == pattern.count else { return false }
            matched = failure[matched - 1]
            return true
        }
    }

    private var automata: [Automaton]
    private var held: [UInt8] = []
    /// The stop string that was seen. The text ends before it.
    package private(set) var match: String?
    /// Whether one was seen.
    package var isStopped: Bool { match != nil }

    /// - Parameter stops: None may be empty.
    package init(_ stops: [String]) {
        automata = stops.map { Automaton($0) }
    }

    /// Takes a piece, and returns the text that is certain to be no part of a stop string.
    /// - Parameter mayStop: Whether a stop string that is complete in this piece counts.
    package mutating func append(_ piece: String, mayStop: Bool = true) -> String {
        guard !isStopped else { return "" }
        guard !automata.isEmpty else { return piece }
        for byte in piece.utf8 {
            held.append(byte)
            var found: [UInt8]?
            for index in automata.indices where automata[index].advance(byte) {
                found = found ?? automata[index].pattern
            }
            if let found, mayStop {
                match = String(decoding: found, as: UTF8.self)
                return take(held.count - found.count)
            }
        }
        return take(held.count - (automata.map(\.matched).max() ?? 0))
    }

    /// The text has ended: what was held back belongs to it after all.
    package mutating func finish() -> String {
        isStopped ? "" : take(held.count)
    }

    /// Patterns and pieces are UTF-8, so no cut is inside a code point.
    private mutating func take(_ count: Int) -> String {
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }
}
