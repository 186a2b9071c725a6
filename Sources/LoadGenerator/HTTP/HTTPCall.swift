import Foundation
import JSON

extension ServerAddress {
    /// Asks once and waits for the whole answer, at most `seconds`.
    /// - Throws: ``LoadError`` where there is none.
    func call(_ path: String, body: JSONValue? = nil, apiKey: String?, seconds: Double) throws -> (
        status: Int, body: [UInt8]
    ) {
        let deadline = ContinuousClock.now + .seconds(seconds)
        let descriptor = try connect()
        defer { close(descriptor) }
        var outgoing = request(path, body: body?.serialized, apiKey: apiKey)[...]
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var parser = HTTPResponseParser()
        var answer: [UInt8] = []
        while !parser.isComplete {
            guard wait(for: descriptor, toSend: !outgoing.isEmpty, until: deadline) else {
                throw LoadError("no answer from \(url)\(path) within \(seconds) s")
            }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count == 0 || count < 0 && errno != EAGAIN && errno != EINTR {
                let reason = count == 0 ? "the server closed the connection" : String(cString: strerror(errno))
                guard count == 0, parser.close() else { throw LoadError("no answer from \(url)\(path): \(reason)") }
            } else if count > 0 {
                answer += try parser.receive(buffer[..<count])
                if answer.count > 16 << 20 { throw LoadError("the answer of \(url)\(path) exceeds 16 MiB") }
            }
            let sent = outgoing.withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            outgoing = outgoing.dropFirst(max(0, sent))
        }
        return (parser.status ?? 0, answer)
    }

    private func wait(for descriptor: Int32, toSend: Bool, until deadline: ContinuousClock.Instant) -> Bool {
        let left = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
        var query = pollfd(fd: descriptor, events: Int16(POLLIN | (toSend ? POLLOUT : 0)), revents: 0)
        return left > 0 && poll(&query, 1, Int32(left) + 1) > 0
    }
}
