import Foundation

/// Where the HTTP server listens: a loopback address and a port.
public struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    /// An address of the loopback interface: 127.0.0.0/8 or ::1.
    public let host: String
    /// 0 lets the system choose a free one.
    public let port: UInt16

    /// "127.0.0.1:8000", "[::1]:8000".
    public var description: String { isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    var isIPv6: Bool { host.utf8.contains(UInt8(ascii: ":")) }

    init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `HOST:PORT`; HOST is `localhost`, an IPv4 address, or an IPv6 address in brackets.
    /// - Throws: ``FrontendError`` where it is not of this form, or reaches beyond loopback.
    public init(_ text: String) throws {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw FrontendError(
                "listen address '\(text)': expected HOST:PORT with a port of 0 to 65535, such as 127.0.0.1:8000")
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        if host == "localhost" { host = "127.0.0.1" }
        guard Self.isLoopback(host) else {
            throw FrontendError(
                """
                listen address '\(text)': only loopback (127.0.0.1, [::1], localhost) is served, because requests are \
                not yet authenticated with API keys; to reach it from elsewhere use an SSH tunnel or a proxy that \
                authenticates
                """)
        }
        self.init(host: host, port: port)
    }

    private static func isLoopback(_ host: String) -> Bool {
        var v4 = in_addr()
        if inet_pton(AF_INET, host, &v4) == 1 { return UInt32(bigEndian: v4.s_addr) >> 24 == 127 }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, host, &v6) == 1 else { return false }
        return withUnsafeBytes(of: v6) { $0.elementsEqual([UInt8](repeating: 0, count: 15) + [1]) }
    }
}

/// The HTTP server cannot be set up as asked.
public struct FrontendError: Error, Sendable, CustomStringConvertible {
    /// What was found, what was expected, and the remedy.
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}
