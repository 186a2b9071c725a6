import Foundation
import Frontend

/// A client that says exactly what it is told to, and can misbehave.
final class RawClient: @unchecked Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let descriptor: Int32
    private var received: [UInt8] = []
    private var isClosed = false

    init(_ address: ListenAddress) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = address.port.bigEndian
        inet_pton(AF_INET, address.host, &target.sin_addr)
        let result = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failure(description: "cannot connect to \(address): errno \(errno)") }
    }

    deinit { close() }

    /// Hangs up.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        Foundation.close(descriptor)
    }

    /// Closes one direction.
    func shutDown(_ direction: Int32) { shutdown(descriptor, direction) }

    /// Hangs up as a process that crashed does.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
        close()
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// Sends as much as the server takes.
    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// What has been received when it first fulfils the condition, or when the server has closed the connection.
    func receive(within limit: Duration = .seconds(20), until isEnough: (String) -> Bool = { _ in false }) throws
        -> String
    {
        let deadline = ContinuousClock.now + limit
        while true {
            let text = String(decoding: received, as: UTF8.self)
            if isEnough(text) { return text }
            guard ContinuousClock.now < deadline else {
                throw Failure(description: "nothing more came; so far: \(text.suffix(500))")
            }
            var query = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&query, 1, 100) > 0 else { continue }
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return text }
            received += buffer[..<count]
        }
    }

    /// The next response that has a Content-Length, taken out of what was received.
    func response(within limit: Duration = .seconds(20)) throws -> (head: String, body: String) {
        var split: (head: String, length: Int)?
        _ = try receive(within: limit) { text in
            guard let end = text.range(of: "\r\n\r\n") else { return false }
            let head = String(text[..<end.lowerBound])
            let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
                .flatMap { Int($0.dropFirst(15).drop { $0 == " " }) }
            split = (head, length ?? 0)
            return text.utf8.count >= head.utf8.count + 4 + (length ?? 0)
        }
        guard let split else {
            throw Failure(description: "closed without a response: \(String(decoding: received, as: UTF8.self))")
        }
        let start = split.head.utf8.count + 4
        let end = min(received.count, start + split.length)
        defer { received.removeFirst(end) }
        return (split.head, String(decoding: received[start..<end], as: UTF8.self))
    }
}

/// Runs blocking code beside Swift's own threads, which the server needs.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Swift.Result { try body() }) }.start()
    }
}

/// Waits until a condition holds; false when it does not within the limit.
func eventually(within limit: Duration = .seconds(20), _ condition: @Sendable () -> Bool) async throws -> Bool {
    let deadline = ContinuousClock.now + limit
    while !condition() {
        guard ContinuousClock.now < deadline else { return false }
        try await Task.sleep(for: .milliseconds(5))
    }
    return true
}
