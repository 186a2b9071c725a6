/// Turns the bytes of a message's tokens into text as OpenAI's Harmony library does.
///
/// Never gives half a code point. An invalid sequence becomes one U+FFFD, and the bytes after it wait for the next
/// token. From an id that has no token on, the library gives up: nothing more until the end, where U+FFFD stands for
/// the rest; the rest is kept beside.
struct ContentDecoder: Sendable {
    private var text = ""
    private var pending: [UInt8] = []
    private var abandoned: [UInt8]?

    /// Takes a token's bytes, nil where the id has none; returns the text that became certain.
    mutating func append(_ bytes: [UInt8]?) -> String? {
        guard abandoned == nil, let bytes else {
            abandoned = (abandoned ?? []) + (bytes ?? (abandoned == nil ? [] : Array("\u{FFFD}".utf8)))
            return nil
        }
        pending += bytes
        let (validCount, invalidCount) = pending.validUTF8Prefix
        var delta = String(decoding: pending[..<validCount], as: UTF8.self)
        if invalidCount > 0 { delta += "\u{FFFD}" }
        pending.removeFirst(validCount + invalidCount)
        text += delta
        return delta.isEmpty ? nil : delta
    }

    /// The whole text, and the same with the abandoned rest; begins anew.
    mutating func finish() -> (text: String, verbatim: String) {
        defer { self = ContentDecoder() }
        let text = text + (abandoned == nil ? "" : "\u{FFFD}") + String(decoding: pending, as: UTF8.self)
        return (text, text + String(decoding: abandoned ?? [], as: UTF8.self))
    }
}

extension [UInt8] {
    /// How many bytes from the beginning are whole code points, and how many after them are a sequence that no further
    /// byte can make valid: 0 where the bytes end, even within a code point.
    fileprivate var validUTF8Prefix: (valid: Int, invalid: Int) {
        var parser = Unicode.UTF8.ForwardParser()
        var bytes = makeIterator()
        var valid = 0
        while true {
            switch parser.parseScalar(from: &bytes) {
            case .valid(let scalar):
                valid += scalar.count
            case .emptyInput:
                return (valid, 0)
            case .error(let length):
                let needed =
                    switch self[valid] {
                    case 0xC2...0xDF: 2
                    case 0xE0...0xEF: 3
                    case 0xF0...0xF4: 4
                    default: 1
                    }
                let isIncomplete = valid + length == count && length < needed
                return (valid, isIncomplete ? 0 : length)
            }
        }
    }
}
