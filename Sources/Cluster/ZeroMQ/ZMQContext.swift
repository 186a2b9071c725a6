import CZeroMQ

/// What libzmq said no to.
struct ZMQError: Error, CustomStringConvertible {
    let operation: String
    let code: Int32

    /// The error that libzmq has just reported on this thread.
    init(_ operation: String) {
        self.operation = operation
        code = zmq_errno()
    }

    var description: String { "\(operation): \(String(cString: zmq_strerror(code)))" }
}

/// A libzmq context. Sockets keep theirs alive; the last one to go ends it, waiting for what is still to be sent.
/// Sendable because libzmq's contexts are thread-safe.
package final class ZMQContext: @unchecked Sendable {
    let handle: UnsafeMutableRawPointer

    /// - Parameter threads: for the connections; where there are several, the first serves all sockets that do not
    ///   choose another.
    package init(threads: Int32 = 1) throws {
        Self.keepMemory
        guard let handle = zmq_ctx_new() else { throw ZMQError("creating a ZeroMQ context") }
        self.handle = handle
        zmq_ctx_set(handle, ZMQ_IO_THREADS, threads)
    }

    /// libzmq allocates the memory of each large frame anew, which glibc would soon give back to the system, and get from it
    /// page by page, time and again. Frames have up to a few MiB.
    private static let keepMemory: Void = {
        mallopt(M_MMAP_THRESHOLD, 4 << 20)
        mallopt(M_TRIM_THRESHOLD, 8 << 20)
    }()

    deinit {
        while zmq_ctx_term(handle) != 0, zmq_errno() == EINTR {}
    }
}
