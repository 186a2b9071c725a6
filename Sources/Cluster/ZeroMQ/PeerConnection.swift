import CZeroMQ
import Foundation

/// A connection that libzmq has with a peer, so that it can be ended: libzmq has no call for that, and finds it closed.
struct PeerConnection {
    private let descriptor: Int32
    /// Of the system's socket, which tells it from a later one of the same descriptor.
    private let inode: ino_t

    /// Nil unless that is a connection to `endpoint`, which is this machine's. One that is closed may have left its
    /// descriptor to another file.
    init?(descriptor: Int32, to endpoint: Endpoint) {
        // A copy of the descriptor cannot become another file's between two looks at it.
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return nil }
        defer { close(copy) }
        guard Self.isEnd(copy, of: endpoint), let inode = Self.inode(of: copy) else { return nil }
        self.descriptor = descriptor
        self.inode = inode
    }

    /// Whether it has not been closed on this side.
    var isOpen: Bool { Self.inode(of: descriptor) == inode }

    /// Bytes that the system has received over it; nil where it is closed, or not TCP. Takes no descriptor, for there may be
    /// none left.
    var bytesReceived: UInt64? {
        // struct tcp_info of Linux's <linux/tcp.h>: tcpi_bytes_received, which glibc's declaration lacks.
        let offset = 128
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { info in
            var size = socklen_t(info.count)
            guard isOpen, getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, info.baseAddress, &size) == 0,
                size >= offset + 8, isOpen
            else { return nil }
            return info.load(fromByteOffset: offset, as: UInt64.self)
        }
    }

    /// Ends it, and over TCP with it what waits to be sent.
    /// - Returns: false where it is closed already, or no descriptor is left to hold it by meanwhile.
    @discardableResult
    func cut() -> Bool {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return false }
        defer { close(copy) }
        guard Self.inode(of: copy) == inode else { return false }
        // Or the system would deliver what it has taken already.
        var abortion = linger(l_onoff: 1, l_linger: 0)
        setsockopt(copy, SOL_SOCKET, SO_LINGER, &abortion, socklen_t(MemoryLayout<linger>.size))
        return shutdown(copy, Int32(SHUT_RDWR)) == 0
    }

    private static func inode(of descriptor: Int32) -> ino_t? {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK ? status.st_ino : nil
    }

    /// Whether the connection was made to that endpoint: TCP tells by the port, for it may be bound to several addresses.
    private static func isEnd(_ descriptor: Int32, of endpoint: Endpoint) -> Bool {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard result == 0 else { return false }
        return withUnsafeBytes(of: storage) { bytes in
            switch (endpoint.address, Int32(storage.ss_family)) {
            case (.tcp(_, let port), AF_INET), (.tcp(_, let port), AF_INET6):
                // The port lies at the same place in both.
                return UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) == port
            case (.ipc(let path), AF_UNIX):
                let name = bytes[2..<min(Int(size), bytes.count)]
                // An abstract name begins with a zero, for which ZeroMQ writes @.
                let first = name.first.map { $0 == 0 ? UInt8(ascii: "@") : $0 }
                return first == path.utf8.first
                    && name.dropFirst().prefix { $0 != 0 }.elementsEqual(path.utf8.dropFirst())
            default: return false
            }
        }
    }
}
