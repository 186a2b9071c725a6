import CMicroHTTPD
import Foundation
import Synchronization

/// One request and its response, shared by libmicrohttpd's thread and the task that answers.
///
/// While the task works the connection is suspended: libmicrohttpd then neither reads nor writes nor times out, so
/// ``watch(now:limits:)`` must be called now and then to notice a client that has gone.
package final class HTTPExchange: Sendable {
    /// A connection's handle. Sendable because libmicrohttpd may be told to resume from any thread, and because the
    /// exchange uses the handle only under its lock and only until ``HTTPExchange/finish()``, during which the
    /// connection exists.
    private struct Connection: @unchecked Sendable {
        let handle: OpaquePointer
    }

    private enum Phase {
        /// The body comes in; what exceeds the limit is counted and dropped.
        case receiving
        /// The task works; the connection is suspended.
        case handling
        /// The response waits for libmicrohttpd's thread to take it.
        case answered(HTTPResponse)
        /// The response's head has been taken, and with it a body of bytes.
        case responding
        /// libmicrohttpd has let go of the connection.
        case finished
    }

    private struct State {
        var phase = Phase.receiving
        var body: [UInt8] = []
        var received = 0
        var status: Int?
        var task: Task<Void, Never>?
        var clientLeft = false
        var isSuspended = false

        // A streamed body.
        /// A slice, whose beginning goes away at no cost: an echoed prompt with its scores is many megabytes.
        var outgoing: ArraySlice<UInt8> = []
        var isEnded = false
        var heartbeat: [UInt8] = []
        var lastWrite: ContinuousClock.Instant
        var waitingForRoom: [CheckedContinuation<Void, Never>] = []
    }

    /// A writer waits while more than this many bytes have not been taken by the client.
    private static let highWater = 256 << 10

    let method: String
    let path: String
    private let key: String
    private let start: ContinuousClock.Instant
    private let connection: Connection
    private let state: Mutex<State>

    init(connection: OpaquePointer, method: String, path: String, key: String) {
        self.connection = Connection(handle: connection)
        self.method = method
        self.path = path
        self.key = key
        start = .now
        state = Mutex(State(lastWrite: start))
    }

    /// What the access log says once the exchange is over.
    var logEntry: AccessLogEntry {
        state.withLock {
            AccessLogEntry(
                method: method, path: path, status: $0.status, duration: start.duration(to: .now),
                clientLeft: $0.clientLeft)
        }
    }

    // MARK: On libmicrohttpd's thread

    /// Takes a part of the body; false when so much was sent that the connection is to be closed.
    func receive(_ bytes: UnsafeRawBufferPointer, limit: Int) -> Bool {
        state.withLock { state in
            state.received += bytes.count
            if state.received <= limit { state.body.append(contentsOf: bytes) } else { state.body = [] }
            return state.received / 4 <= limit
        }
    }

    /// Suspends the connection and lets a task answer.
    func handle(limit: Int, _ handler: @escaping HTTPHandler) {
        state.withLock { state in
            guard case .receiving = state.phase else { return }
            state.phase = .handling
            suspend(&state)
            let isTooLarge = state.received > limit
            let request = HTTPRequest(method: method, path: path, key: key, body: state.body)
            state.body = []
            state.task = Task {
                await answer(isTooLarge ? APIError.bodyTooLarge(limit: limit).response : handler(request))
            }
        }
    }

    /// The response, once, when there is one to be sent.
    func takeResponse() -> HTTPResponse? {
        state.withLock { state in
            guard case .answered(let response) = state.phase else { return nil }
            state.phase = .responding
            return response
        }
    }

    /// Notes the status of a response that does not come from a task.
    func note(status: Int) { state.withLock { $0.status = status } }

    /// Fills a buffer with what is to be sent: the number of bytes, 0 when the connection was suspended because there
    /// is nothing yet, nil at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        let (count, writers): (Int?, [CheckedContinuation<Void, Never>]) = state.withLock { state in
            guard !state.outgoing.isEmpty else {
                if state.isEnded { return (nil, []) }
                suspend(&state)
                return (0, [])
            }
            let count = min(buffer.count, state.outgoing.count)
            buffer.copyBytes(from: state.outgoing.prefix(count))
            state.outgoing.removeFirst(count)
            guard state.outgoing.count <= Self.highWater else { return (count, []) }
            defer { state.waitingForRoom = [] }
            return (count, state.waitingForRoom)
        }
        for writer in writers { writer.resume() }
        return count
    }

    /// libmicrohttpd lets go of the connection.
    func finish(clientLeft: Bool) {
        let (task, writers) = state.withLock { state in
            state.phase = .finished
            state.clientLeft = state.clientLeft || clientLeft
            defer { state.waitingForRoom = [] }
            return (state.task, state.waitingForRoom)
        }
        task?.cancel()
        for writer in writers { writer.resume() }
    }

    // MARK: On the task

    private func answer(_ response: HTTPResponse) async {
        state.withLock { state in
            guard case .handling = state.phase else { return }
            state.phase = .answered(response)
            state.status = response.status
            state.lastWrite = .now
            if case .stream(let heartbeat, _) = response.body { state.heartbeat = heartbeat }
            resume(&state)
        }
        guard case .stream(_, let produce) = response.body else { return }
        await produce(HTTPBodyWriter(exchange: self))
        state.withLock { state in
            state.isEnded = true
            resume(&state)
        }
    }

    func write(_ chunk: some Sequence<UInt8>) async {
        state.withLock { append(chunk, to: &$0) }
        await withCheckedContinuation { continuation in
            let mustWait = state.withLock { state in
                if case .finished = state.phase { return false }
                guard state.outgoing.count > Self.highWater else { return false }
                state.waitingForRoom.append(continuation)
                return true
            }
            if !mustWait { continuation.resume() }
        }
    }

    // MARK: On the server's watch

    /// Cancels the task when the client has gone, keeps a silent stream alive, and ends a body that is sent too slowly.
    ///
    /// A client that has closed its sending side is taken for gone: on a socket the two look the same until something is
    /// written.
    func watch(now: ContinuousClock.Instant, limits: HTTPLimits) {
        let abandoned: Task<Void, Never>? = state.withLock { state in
            switch state.phase {
            case .receiving:
                if start.duration(to: now) > limits.bodyTime { shutdownSocket() }
                return nil
            case .finished: return nil
            case .handling, .answered, .responding: break
            }
            guard !state.clientLeft else { return nil }
            if hasHungUp {
                state.clientLeft = true
                return state.task
            }
            if state.isSuspended, !state.heartbeat.isEmpty, state.lastWrite.duration(to: now) > limits.heartbeat {
                append(state.heartbeat, to: &state)
            }
            return nil
        }
        abandoned?.cancel()
    }

    /// Cancels the task, so that the exchange ends soon.
    func cancel() { state.withLock { $0.task }?.cancel() }

    /// Ends the exchange although the client is still sending or has not read everything.
    func disconnect() {
        state.withLock { state in
            if case .finished = state.phase { return }
            shutdownSocket()
        }
    }

    // MARK: Under the lock

    private func suspend(_ state: inout State) {
        state.isSuspended = true
        MHD_suspend_connection(connection.handle)
    }

    private func resume(_ state: inout State) {
        guard state.isSuspended else { return }
        state.isSuspended = false
        MHD_resume_connection(connection.handle)
    }

    private func append(_ chunk: some Sequence<UInt8>, to state: inout State) {
        if case .finished = state.phase { return }
        state.outgoing.append(contentsOf: chunk)
        state.lastWrite = .now
        // Before libmicrohttpd has taken the head, ``answer(_:)`` has resumed the connection already.
        if case .responding = state.phase { resume(&state) }
    }

    /// POLLRDHUP, which the C library's header hides without _GNU_SOURCE.
    private static let peerHungUp: Int16 = 0x2000

    private var hasHungUp: Bool {
        var query = pollfd(fd: shoal_mhd_socket(connection.handle), events: Self.peerHungUp, revents: 0)
        return poll(&query, 1, 0) > 0
    }

    private func shutdownSocket() {
        shutdown(shoal_mhd_socket(connection.handle), Int32(SHUT_RDWR))
    }
}
