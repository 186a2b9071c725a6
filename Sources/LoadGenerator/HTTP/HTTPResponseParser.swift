/// Reads one HTTP/1.1 response (RFC 9112) from whatever pieces it comes in. Head and chunk-size lines are bounded, so
/// that no server can make it hold more than it should.
package struct HTTPResponseParser: Sendable {
    private enum State {
        case head
        case sized(remaining: Int)
        case untilClose
        case chunkSize
        case chunk(remaining: Int)
        case chunkEnd
        case trailer
        case complete
    }

    private static let maximumHead = 64 << 10
    private static let maximumLine = 1 << 10

    private var state = State.head
    /// The head, or the line of the chunked coding, as far as it has come.
    private var pending: [UInt8] = []
    /// The status code, once the head has come.
    package private(set) var status: Int?
    /// Whether the connection can carry another request when this response is complete.
    package private(set) var keepsAlive = true

    package init() {}

    /// Whether the whole response has come.
    package var isComplete: Bool { if case .complete = state { true } else { false } }

    /// Takes the next bytes and gives what they add to the body.
    /// - Throws: ``LoadError`` where they are not HTTP.
    package mutating func receive(_ bytes: some Collection<UInt8>) throws -> [UInt8] {
        var rest = bytes[...]
        var body: [UInt8] = []
        while !rest.isEmpty {
            switch state {
            case .head:
                pending.append(rest.removeFirst())
                if pending.count > Self.maximumHead { throw LoadError("the response's head exceeds 64 KiB") }
                if pending.last == UInt8(ascii: "\n"), pending.isEndOfHead { try readHead() }
            case .sized(let remaining):
                let part = rest.prefix(remaining)
                body += part
                rest = rest.dropFirst(part.count)
                state = part.count == remaining ? .complete : .sized(remaining: remaining - part.count)
            case .untilClose:
                body += rest
                return body
            case .chunk(let remaining):
                let part = rest.prefix(remaining)
                body += part
                rest = rest.dropFirst(part.count)
                state = part.count == remaining ? .chunkEnd : .chunk(remaining: remaining - part.count)
            case .chunkSize, .chunkEnd, .trailer:
                let byte = rest.removeFirst()
                if byte != UInt8(ascii: "\n") {
                    pending.append(byte)
                    if pending.count > Self.maximumLine { throw LoadError("a line of the chunked body exceeds 1 KiB") }
                    continue
                }
                if pending.last == UInt8(ascii: "\r") { pending.removeLast() }
                let line = String(decoding: pending, as: UTF8.self)
                pending.removeAll(keepingCapacity: true)
                try readLine(line)
            case .complete:
                // Nothing was asked that this could answer.
                keepsAlive = false
                return body
            }
        }
        return body
    }

    /// The server has closed the connection. Whether the response is complete, by that or already.
    package mutating func close() -> Bool {
        keepsAlive = false
        if case .untilClose = state { state = .complete }
        return isComplete
    }

    private mutating func readLine(_ line: String) throws {
        switch state {
        case .chunkSize:
            let digits = line.prefix { $0 != ";" }.filter { $0 != " " }
            guard (1...15).contains(digits.count), let size = Int(digits, radix: 16), size >= 0 else {
                throw LoadError("'\(line.prefix(40))' is not the size of a chunk")
            }
            state = size == 0 ? .trailer : .chunk(remaining: size)
        case .chunkEnd:
            guard line.isEmpty else { throw LoadError("a chunk is longer than its size says") }
            state = .chunkSize
        default: if line.isEmpty { state = .complete }
        }
    }

    private mutating func readHead() throws {
        let lines = String(decoding: pending, as: UTF8.self).split(omittingEmptySubsequences: true) { $0.isNewline }
        pending.removeAll(keepingCapacity: true)
        let parts = (lines.first ?? "").split(separator: " ", maxSplits: 2)
        guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), let status = Int(parts[1]),
            (100...599).contains(status)
        else { throw LoadError("'\((lines.first ?? "").prefix(80))' is not the beginning of an HTTP/1.1 response") }
        if status < 200 { return }  // an interim response; the real one follows
        self.status = status
        keepsAlive = parts[0] == "HTTP/1.1"
        state = .untilClose
        var isChunked = false
        for line in lines.dropFirst() {
            let field = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let value = field.count == 2 ? field[1].lowercased().filter { $0 != " " && $0 != "\t" } : ""
            switch field[0].lowercased() {
            case "transfer-encoding": isChunked = value.hasSuffix("chunked")
            case "connection": keepsAlive = value.contains("close") ? false : keepsAlive
            case "content-length":
                guard let length = Int(value), length >= 0 else {
                    throw LoadError("the response's Content-Length is '\(value.prefix(40))'")
                }
                state = length == 0 ? .complete : .sized(remaining: length)
            default: break
            }
        }
        if isChunked { state = .chunkSize }
        if status == 204 || status == 304 { state = .complete }
    }
}

extension [UInt8] {
    fileprivate var isEndOfHead: Bool {
        suffix(4).elementsEqual("\r\n\r\n".utf8) || suffix(2).elementsEqual("\n\n".utf8)
    }
}
