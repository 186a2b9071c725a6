import CEpoll
import Foundation

/// Waits for sockets: epoll, with nanoseconds.
final class Poller {
    private let descriptor: Int32
    private var events = [epoll_event](repeating: epoll_event(), count: 1024)

    /// - Throws: ``LoadError``.
    init() throws {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard descriptor >= 0 else { throw LoadError("cannot poll: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    /// Begins to watch a socket, for what is to be read and, where `writes` says so, for room to write.
    func add(_ socket: Int32, writes: Bool) { control(EPOLL_CTL_ADD, socket, writes: writes) }

    /// Changes whether room to write matters.
    func change(_ socket: Int32, writes: Bool) { control(EPOLL_CTL_MOD, socket, writes: writes) }

    private func control(_ operation: Int32, _ socket: Int32, writes: Bool) {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue | (writes ? EPOLLOUT.rawValue : 0)
        event.data.fd = socket
        epoll_ctl(descriptor, operation, socket, &event)
    }

    /// The sockets at which something has happened, at the latest after `seconds`. A closed socket is forgotten.
    func wait(seconds: Double) -> [Int32] {
        let limit = min(max(0, seconds), 3600)
        var timeout = timespec(tv_sec: Int(limit), tv_nsec: Int((limit - limit.rounded(.down)) * 1e9))
        let count = epoll_pwait2(descriptor, &events, Int32(events.count), &timeout, nil)
        return events.prefix(max(0, Int(count))).map(\.data.fd)
    }
}
