import Foundation
import Synchronization

/// A server on a free port of loopback that answers every request with what it is told to; nothing where that is empty.
final class ScriptedServer: Sendable {
    struct Failure: Error {}

    let port: UInt16
    private let descriptor: Int32
    private let connections = Mutex<[Int32]>([])
    private let accepting = DispatchSemaphore(value: 0)

    /// How many connections were made.
    var connectionCount: Int { connections.withLock(\.count) }

    init(requestsPerConnection: Int = .max, _ answer: @escaping @Sendable (Int) -> String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        var length = socklen_t(MemoryLayout.size(ofValue: address))
        let (descriptor, size) = (descriptor, length)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && listen(descriptor, 64) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isBound else { throw Failure() }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [weak self, accepting] in
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { break }
                self?.connections.withLock { $0.append(connection) }
                Thread.detachNewThread { Self.serve(connection, requestsPerConnection, answer) }
            }
            accepting.signal()
        }
    }

    deinit {
        shutdown(descriptor, Int32(SHUT_RDWR))
        accepting.wait()
        close(descriptor)
    }

    private static func serve(_ connection: Int32, _ requests: Int, _ answer: (Int) -> String) {
        defer { close(connection) }
        var received = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        for index in 0..<requests {
            // A request's body ends with the template's last member.
            while !received.hasSuffix("}}") {
                let count = recv(connection, &buffer, buffer.count, 0)
                guard count > 0 else { return }
                received += String(decoding: buffer[..<count], as: UTF8.self)
            }
            received = ""
            let text = answer(index)
            _ = text.withCString { send(connection, $0, text.utf8.count, Int32(MSG_NOSIGNAL)) }
        }
    }

    static func chunk(_ text: String) -> String { "\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n" }
}
