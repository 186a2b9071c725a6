import Foundation

/// Where a socket is bound or connected: `tcp://HOST:PORT` or `ipc://PATH`.
public struct Endpoint: Sendable, Equatable, CustomStringConvertible {
    enum Address: Sendable, Equatable {
        /// Port 0 binds any free port.
        case tcp(host: String, port: UInt16)
        case ipc(path: String)
    }

    let address: Address

    /// - Parameter beyondThisMachine: whether to take addresses that others can reach, too. Without keys, whoever reached
    ///   the port could read prompts and forge answers.
    /// - Throws: ``ClusterError`` when the text is no endpoint, or one that is not to be taken.
    public init(_ text: String, beyondThisMachine: Bool = false) throws {
        if text.hasPrefix("ipc://"), text.utf8.count > 6 {
            address = .ipc(path: String(text.dropFirst(6)))
            return
        }
        guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":") else {
            throw ClusterError("'\(text)' is not an endpoint; expected tcp://HOST:PORT or ipc://PATH")
        }
        let host = text[..<colon].dropFirst(6)
        let port = text[text.index(after: colon)...]
        guard Self.isHost(host), let number = port == "*" ? 0 : UInt16(port) else {
            throw ClusterError("'\(text)' has no valid host and port; expected tcp://HOST:PORT, PORT within 0...65535")
        }
        guard beyondThisMachine || Self.isLoopback(host) else {
            throw ClusterError(
                "'\(text)' reaches beyond this machine, and the cluster's messages are neither encrypted nor "
                    + "authenticated without keys; give `shoal serve` and `shoal worker` --key, which `shoal keygen` "
                    + "makes, or use tcp://127.0.0.1:PORT or ipc://PATH")
        }
        address = .tcp(host: host == "localhost" ? "127.0.0.1" : String(host), port: number)
    }

    private init(_ address: Address) { self.address = address }

    /// The endpoint as ZeroMQ writes it.
    public var description: String {
        switch address {
        case .tcp(let host, let port): "tcp://\(host):\(port == 0 ? "*" : String(port))"
        case .ipc(let path): "ipc://\(path)"
        }
    }

    /// Whether the host is an IPv6 address.
    var isIPv6: Bool {
        if case .tcp(let host, _) = address { host.hasPrefix("[") } else { false }
    }

    /// Where the data socket may go beside a control socket bound here, the best place first: one port above, so that
    /// tunnels and firewalls can be told, or any free one where that is taken.
    package var candidatesForData: [Endpoint] { candidates(1, ".data") }

    /// The same for the weights socket, two ports above.
    package var candidatesForWeights: [Endpoint] { candidates(2, ".weights") }

    private func candidates(_ distance: UInt16, _ suffix: String) -> [Endpoint] {
        switch address {
        case .tcp(let host, let port):
            (port == 0 || port > .max - distance ? [0] : [port + distance, 0])
                .map { Endpoint(.tcp(host: host, port: $0)) }
        case .ipc(let path): [Endpoint(.ipc(path: path + suffix))]
        }
    }

    /// Whether nobody else can reach it.
    public var isOnThisMachine: Bool {
        switch address {
        case .tcp(let host, _): Self.isLoopback(host[...])
        case .ipc: true
        }
    }

    /// How others reach it. Bound to all addresses of a machine, it is reached by any of its names, for which HOST stands.
    public var dialled: String {
        switch address {
        case .tcp("0.0.0.0", let port), .tcp("*", let port), .tcp("[::]", let port): "tcp://HOST:\(port)"
        default: description
        }
    }

    /// Why the host's name stands for no address now; nil where it does. It may take seconds to find out.
    func resolutionFailure() -> String? {
        guard case .tcp(let host, _) = address else { return nil }
        var found: UnsafeMutablePointer<addrinfo>?
        var hints = addrinfo()
        // As the socket does.
        hints.ai_family = isIPv6 ? AF_INET6 : AF_INET
        let status = getaddrinfo(host.trimmingCharacters(in: ["[", "]"]), nil, &hints, &found)
        if let found { freeaddrinfo(found) }
        return status == 0 ? nil : String(cString: gai_strerror(status))
    }

    /// A coordinator may know itself by another address than its workers do: its port is taken, not its host.
    /// - Throws: ``ClusterError`` when `announced` is of another kind than this endpoint.
    func reaching(announced: Endpoint) throws -> Endpoint {
        switch (address, announced.address) {
        case (.tcp(let host, _), .tcp(_, let port)) where port != 0: Endpoint(.tcp(host: host, port: port))
        case (.ipc, .ipc): announced
        default:
            throw ClusterError("the coordinator at \(self) announced \(announced) for data; expected the same kind")
        }
    }

    /// Whether this may be a name, an address or an interface. A semicolon, say, means more to libzmq.
    private static func isHost(_ host: Substring) -> Bool {
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? host.dropFirst().dropLast() : host
        let marks: Set<Character> = bare.count < host.count ? [":", ".", "%"] : [".", "-", "_"]
        return host == "*"
            || !bare.isEmpty && bare.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) || marks.contains($0) }
    }

    private static func isLoopback(_ host: Substring) -> Bool {
        if host == "localhost" || host == "[::1]" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
