import Foundation

/// Where the measured server listens: a URL, resolved once so that no request waits for that.
public struct ServerAddress: Sendable {
    /// The URL as it was given, without `/v1` at its end.
    public let url: String
    /// `HOST:PORT`, for the Host header.
    package let authority: String
    /// What stands before every path.
    package let prefix: String
    private let family: Int32
    private let address: [UInt8]

    /// - Throws: ``LoadError`` where the text is no `http://` URL, or its host is unknown.
    public init(_ text: String) throws {
        guard let parts = URLComponents(string: text), let host = parts.host, !host.isEmpty,
            (1...65535).contains(parts.port ?? 80)
        else { throw LoadError("'\(text)' is no URL; expected one such as http://127.0.0.1:8080") }
        guard parts.scheme == "http" else {
            throw LoadError(
                "'\(text)' is not http://, and encrypted connections are not spoken here; measure the server behind "
                    + "its TLS proxy, or through a tunnel")
        }
        var path = parts.percentEncodedPath
        while path.hasSuffix("/") { path.removeLast() }
        if path.hasSuffix("/v1") { path.removeLast(3) }
        let port = parts.port ?? 80
        let bare = host.trimmingCharacters(in: ["[", "]"])
        authority = (bare.contains(":") ? "[\(bare)]" : bare) + ":\(port)"
        prefix = path
        url = "http://\(authority)\(path)"
        (family, address) = try Self.resolve(bare, port: port)
    }

    private static func resolve(_ host: String, port: Int) throws -> (Int32, [UInt8]) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &found)
        defer { if let found { freeaddrinfo(found) } }
        guard status == 0, let first = found?.pointee, let address = first.ai_addr else {
            throw LoadError("the host '\(host)' is not known: \(String(cString: gai_strerror(status)))")
        }
        return (
            first.ai_family,
            Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(address), count: Int(first.ai_addrlen)))
        )
    }

    /// Opens a socket that does not block and begins to connect it.
    /// - Throws: ``LoadError`` where that fails at once.
    package func connect() throws -> Int32 {
        let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let descriptor = socket(family, Int32(kind), 0)
        guard descriptor >= 0 else { throw LoadError("cannot open a socket: \(String(cString: strerror(errno)))") }
        var yes: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout.size(ofValue: yes)))
        let result = address.withUnsafeBytes { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) {
                Foundation.connect(descriptor, $0.baseAddress, socklen_t(bytes.count))
            }
        }
        guard result == 0 || errno == EINPROGRESS else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw LoadError("cannot connect to \(authority): \(reason)")
        }
        return descriptor
    }

    /// The bytes of a request; a POST where there is a body.
    package func request(_ path: String, body: String?, apiKey: String?) -> [UInt8] {
        var head = "\(body == nil ? "GET" : "POST") \(prefix)\(path) HTTP/1.1\r\nHost: \(authority)\r\n"
        head += "User-Agent: shoal-bench\r\nAccept: */*\r\n"
        if let apiKey { head += "Authorization: Bearer \(apiKey)\r\n" }
        if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
        return Array((head + "\r\n").utf8) + Array((body ?? "").utf8)
    }
}
