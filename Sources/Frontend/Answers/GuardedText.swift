import Engine

/// Generated text on its way to the client: stop strings end it, and each token's scores travel with its text.
struct GuardedText: Sendable {
    /// A token and where its text begins, in code points.
    struct Token: Sendable {
        var scored: ScoredToken
        var offset: Int
    }

    /// What may be sent.
    struct Piece: Sendable {
        var text = ""
        var tokens: [Token] = []
    }

    private var stops: StopStrings
    /// Tokens whose text is held back.
    private var held: [Token] = []
    private var received = 0
    private var released: Int

    /// - Parameter offset: Where the text begins in the whole answer, in code points.
    init(stops: [String], offset: Int = 0) {
        self.stops = StopStrings(stops)
        received = offset
        released = offset
    }

    /// The stop string that has ended the text.
    var match: String? { stops.match }

    /// Takes the text that became certain with a token. A token without text of its own goes with what follows it.
    /// - Parameter mayStop: Whether a stop string that is complete now counts.
    mutating func append(_ text: String, token: ScoredToken?, mayStop: Bool = true) -> Piece {
        if let token { held.append(Token(scored: token, offset: received)) }
        received += text.unicodeScalars.count
        return release(stops.append(text, mayStop: mayStop))
    }

    /// The text has ended without a stop string.
    mutating func finish() -> Piece {
        release(stops.finish())
    }

    private mutating func release(_ text: String) -> Piece {
        released += text.unicodeScalars.count
        let count = released == received ? held.count : held.prefix { $0.offset < released }.count
        defer { held.removeFirst(count) }
        return Piece(text: text, tokens: Array(held.prefix(count)))
    }
}
