import CZeroMQ

/// Waits for sockets and wake-ups. Made once, so that waiting allocates nothing.
package struct ZMQPoller {
    private var items: [zmq_pollitem_t] = []
    private let sockets: [ZMQSocket]
    private let wakeup: Wakeup?

    /// Waits until a socket is readable, or `wakeup` is signalled.
    package init(_ sockets: [ZMQSocket], wakeup: Wakeup? = nil) {
        self.sockets = sockets
        self.wakeup = wakeup
        items = sockets.map { zmq_pollitem_t(socket: $0.handle, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0) }
        if let wakeup {
            items.append(zmq_pollitem_t(socket: nil, fd: wakeup.descriptor, events: Int16(ZMQ_POLLIN), revents: 0))
        }
    }

    /// Returns whether something happened within `milliseconds`. Clears the wake-up.
    package mutating func wait(milliseconds: Int) throws -> Bool {
        let count = zmq_poll(&items, Int32(items.count), milliseconds)
        if count < 0, zmq_errno() != EINTR { throw ZMQError("polling") }
        wakeup?.clear()
        return count > 0
    }
}
