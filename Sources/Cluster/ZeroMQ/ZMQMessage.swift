import CZeroMQ

/// A frame, reused from one receive or send to the next, so that receiving allocates nothing of ours.
package final class ZMQMessage {
    let handle: UnsafeMutablePointer<zmq_msg_t>

    package init() {
        handle = .allocate(capacity: 1)
        zmq_msg_init(handle)
    }

    deinit {
        zmq_msg_close(handle)
        handle.deallocate()
    }

    /// The frame's bytes, valid until the next receive or send; not aligned for anything when received.
    package var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: zmq_msg_data(handle), count: zmq_msg_size(handle))
    }

    /// Whether frames of the same message follow this one.
    package var hasMore: Bool { zmq_msg_more(handle) != 0 }

    /// Of the connection that it was received over.
    var descriptor: Int32 { zmq_msg_get(handle, ZMQ_SRCFD) }

    /// Replaces the content by `count` bytes to be filled in, aligned to 8 bytes.
    package func allocate(_ count: Int) throws -> UnsafeMutableRawBufferPointer {
        zmq_msg_close(handle)
        guard zmq_msg_init_size(handle, count) == 0 else {
            zmq_msg_init(handle)
            throw ZMQError("allocating a frame of \(count) bytes")
        }
        return UnsafeMutableRawBufferPointer(start: zmq_msg_data(handle), count: count)
    }

    /// Replaces the content by bytes that are not copied and do not change. Their `owner` stays until they have been sent or
    /// given up, and is released by any thread, also libzmq's: it must not be what keeps a ``ZMQContext``.
    package func refer(to bytes: UnsafeRawBufferPointer, of owner: any AnyObject & Sendable) throws {
        zmq_msg_close(handle)
        let hold = Unmanaged<AnyObject>.passRetained(owner)
        let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
        let failed = zmq_msg_init_data(
            handle, start, bytes.count, { _, hold in hold.map { Unmanaged<AnyObject>.fromOpaque($0).release() } },
            hold.toOpaque())
        guard failed == 0 else {
            zmq_msg_init(handle)
            hold.release()
            throw ZMQError("referring to \(bytes.count) bytes")
        }
    }
}
