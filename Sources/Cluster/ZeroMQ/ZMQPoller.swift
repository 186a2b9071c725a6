import CZeroMQ
import Foundation

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

    /// Returns whether something happened. Clears the wake-up.
    /// - Parameters:
    ///   - milliseconds: to sleep for.
    ///   - awake: to look for before that, where something is about to come: to be woken on an idle processor takes tens of
    ///     microseconds. Whoever else wants the processor has it between two looks.
    package mutating func wait(milliseconds: Int, awake: Duration = .zero) throws -> Bool {
        defer { wakeup?.clear() }
        if awake > .zero {
            let end = ContinuousClock.now + awake
            repeat {
                if try poll(milliseconds: 0) { return true }
                sched_yield()
            } while ContinuousClock.now < end
        }
        return try poll(milliseconds: milliseconds)
    }

    private mutating func poll(milliseconds: Int) throws -> Bool {
        let count = zmq_poll(&items, Int32(items.count), milliseconds)
        if count < 0, zmq_errno() != EINTR { throw ZMQError("polling") }
        return count > 0
    }
}
