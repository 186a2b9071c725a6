import Foundation

extension ListenAddress {
    /// Opens a listening socket, and says at which address: the port is chosen where this one's is 0.
    /// - Throws: ``FrontendError``.
    func listen() throws -> (descriptor: Int32, address: ListenAddress) {
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("open a socket") }
        do {
            var reuse: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout.size(ofValue: reuse)))
            let bound = withSocketAddress { bind(descriptor, $0, $1) }
            guard bound == 0 else { throw failure("bind") }
            guard Foundation.listen(descriptor, 1024) == 0 else { throw failure("listen") }
            return (descriptor, ListenAddress(host: host, port: try Self.port(of: descriptor) ?? port))
        } catch {
            close(descriptor)
            throw error
        }
    }

    private func failure(_ action: String) -> FrontendError {
        let remedy = errno == EADDRINUSE ? "; another process listens there: stop it or choose another port" : ""
        return FrontendError("listen address \(self): cannot \(action): \(String(cString: strerror(errno)))\(remedy)")
    }

    private func withSocketAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        func call<Address>(_ address: Address) -> Int32 {
            withUnsafeBytes(of: address) { bytes in
                bytes.withMemoryRebound(to: sockaddr.self) { addresses in
                    addresses.baseAddress.map { body($0, socklen_t(MemoryLayout<Address>.size)) } ?? -1
                }
            }
        }
        if isIPv6 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            inet_pton(AF_INET6, host, &address.sin6_addr)
            return call(address)
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        return call(address)
    }

    /// The port a socket is bound to; it stands at the same place in both families' addresses.
    private static func port(of descriptor: Int32) throws -> UInt16? {
        var address = sockaddr_in6()
        var length = socklen_t(MemoryLayout.size(ofValue: address))
        let found = withUnsafeMutableBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { getsockname(descriptor, $0.baseAddress, &length) }
        }
        return found == 0 ? UInt16(bigEndian: address.sin6_port) : nil
    }
}
