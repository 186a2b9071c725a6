import CZeroMQ
import Foundation

/// A TCP connection that libzmq has with a peer, so that it can be ended: libzmq has no call for that, and finds it closed.
struct PeerConnection {
    private let descriptor: Int32
    /// Of the system's socket, which tells it from a later one of the same descriptor.
    private let inode: ino_t

    /// Nil unless that is a connection to `port` of this machine. One that is closed may have left its descriptor to
    /// another file.
    init?(descriptor: Int32, port: UInt16) {
        guard descriptor >= 0, Self.localPort(of: descriptor) == port, let inode = Self.inode(of: descriptor) else {
            return nil
        }
        self.descriptor = descriptor
        self.inode = inode
    }

    /// Whether it has not been closed on this side.
    var isOpen: Bool { Self.inode(of: descriptor) == inode }

    /// Ends it, and with it what waits to be sent.
    func cut() {
        // A copy of the descriptor cannot become another file's in between.
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return }
        defer { close(copy) }
        guard Self.inode(of: copy) == inode else { return }
        // Or the system would deliver what it has taken already.
        var abortion = linger(l_onoff: 1, l_linger: 0)
        setsockopt(copy, SOL_SOCKET, SO_LINGER, &abortion, socklen_t(MemoryLayout<linger>.size))
        shutdown(copy, Int32(SHUT_RDWR))
    }

    private static func inode(of descriptor: Int32) -> ino_t? {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK ? status.st_ino : nil
    }

    private static func localPort(of descriptor: Int32) -> UInt16? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard getsockname(descriptor, address, &size) == 0 else { return nil }
                let family = Int32(address.pointee.sa_family)
                guard family == AF_INET || family == AF_INET6 else { return nil }
                // The port lies at the same place in both.
                return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    UInt16(bigEndian: $0.pointee.sin_port)
                }
            }
        }
    }
}
