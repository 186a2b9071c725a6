/// Reads server-sent events (WHATWG HTML § 9.2) from whatever pieces they come in. Only their data matters here.
package struct EventStreamParser: Sendable {
    private static let maximumEvent = 1 << 20

    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var endedWithReturn = false

    package init() {}

    /// Takes the next bytes and gives the data of the events that they complete.
    /// - Throws: ``LoadError`` where an event exceeds 1 MiB.
    package mutating func receive(_ bytes: some Sequence<UInt8>) throws -> [[UInt8]] {
        var events: [[UInt8]] = []
        for byte in bytes {
            let followsReturn = endedWithReturn
            endedWithReturn = byte == UInt8(ascii: "\r")
            switch byte {
            case UInt8(ascii: "\n") where followsReturn: break
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"): if let event = endLine() { events.append(event) }
            default:
                line.append(byte)
                if line.count + data.count > Self.maximumEvent { throw LoadError("a server-sent event exceeds 1 MiB") }
            }
        }
        return events
    }

    /// The event's data where this line, an empty one, completes an event.
    private mutating func endLine() -> [UInt8]? {
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty {
            defer { (data, hasData) = ([], false) }
            return hasData ? data : nil
        }
        guard line.starts(with: "data".utf8), line.count == 4 || line[4] == UInt8(ascii: ":") else { return nil }
        if hasData { data.append(UInt8(ascii: "\n")) }
        hasData = true
        let value = line.dropFirst(5)
        data += value.first == UInt8(ascii: " ") ? value.dropFirst() : value
        return nil
    }
}
