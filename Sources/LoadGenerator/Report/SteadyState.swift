/// The time in which every client's request decodes at once, and what is generated in it.
package struct SteadyState: Sendable, Equatable {
    /// Seconds in which `streams` requests were between their first and their last chunk.
    package private(set) var seconds = 0.0
    /// Tokens that came in those seconds; what opens such a time is not counted.
    package private(set) var tokens = 0.0

    /// Tokens a second; nil where that many never decoded together.
    package var rate: Double? { seconds > 0 ? tokens / seconds : nil }

    /// - Parameter streams: How many requests must decode at once.
    package init(_ samples: [Sample], streams: Int) {
        enum Kind: Int {
            case chunk, first, last
        }
        var events: [(time: Double, kind: Kind, tokens: Double)] = []
        for sample in samples where sample.chunks.count > 1 {
            let tokens = Double(sample.outputTokens) / Double(sample.chunks.count)
            for time in sample.chunks { events.append((time, .chunk, tokens)) }
            events.append((sample.chunks[0], .first, 0))
            events.append((sample.chunks[sample.chunks.count - 1], .last, 0))
        }
        // Of what came together, chunks come first: those of the time before count, and one that opens a time does not.
        events.sort { ($0.time, $0.kind.rawValue) < ($1.time, $1.kind.rawValue) }
        var decoding = 0
        var begin: Double?
        for event in events {
            switch event.kind {
            case .chunk: if begin != nil { tokens += event.tokens }
            case .first: decoding += 1
            case .last: decoding -= 1
            }
            if decoding >= streams {
                begin = begin ?? event.time
            } else if let started = begin {
                seconds += event.time - started
                begin = nil
            }
        }
    }
}
