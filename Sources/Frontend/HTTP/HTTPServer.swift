import CMicroHTTPD
import Foundation
import Synchronization

/// What a client may take of the server.
package struct HTTPLimits: Sendable {
    /// The largest body, in bytes.
    package var bodyBytes = 8 << 20
    /// How long a body may take to arrive.
    package var bodyTime = Duration.seconds(60)
    /// How long a connection may make no progress in either direction.
    package var idleSeconds: UInt32 = 60
    package var connections: UInt32 = 512
    /// Memory for one connection's request line, headers and buffers, in bytes.
    package var connectionMemory = 64 << 10
    /// The longest silence on a stream.
    package var heartbeat = Duration.seconds(5)

    package init() {}
}

/// HTTP/1.1 over libmicrohttpd: one epoll thread does the input and output, tasks answer.
package final class HTTPServer: Sendable {
    /// libmicrohttpd's handle. Sendable because its functions may be called from any thread; that none is called after
    /// MHD_stop_daemon is held by ``HTTPServer/stop(grace:)``, which takes the handle out of the state first.
    private struct Daemon: @unchecked Sendable {
        let handle: OpaquePointer
    }

    private struct State {
        var daemon: Daemon?
        var watch: Task<Void, Never>?
        var isStopping = false
        var exchanges: [ObjectIdentifier: HTTPExchange] = [:]
    }

    let limits: HTTPLimits
    let handler: HTTPHandler
    private let log: @Sendable (AccessLogEntry) -> Void
    private let state = Mutex(State())

    /// How often each exchange is looked at: half the time within which a vanished client is noticed.
    private static let watchInterval = Duration.milliseconds(250)

    package init(
        limits: HTTPLimits = HTTPLimits(), log: @escaping @Sendable (AccessLogEntry) -> Void = { _ in },
        handler: @escaping HTTPHandler
    ) {
        self.limits = limits
        self.log = log
        self.handler = handler
    }

    /// Listens, and returns the address with the port that was chosen. From here until ``stop(grace:)`` has returned the
    /// server keeps itself alive.
    /// - Throws: ``FrontendError``.
    package func start(on address: ListenAddress) throws -> ListenAddress {
        let (socket, bound) = try address.listen()
        let context = Unmanaged.passRetained(self)
        guard let daemon = Self.startDaemon(socket: socket, limits: limits, context: context.toOpaque()) else {
            context.release()
            close(socket)
            throw FrontendError(
                "listen address \(bound): libmicrohttpd cannot start: \(String(cString: strerror(errno)))")
        }
        state.withLock { state in
            state.daemon = Daemon(handle: daemon)
            state.watch = Task { [weak self] in
                while (try? await Task.sleep(for: Self.watchInterval)) != nil { self?.watchExchanges() }
            }
        }
        return bound
    }

    /// Stops listening, lets requests in flight end for as long as `grace`, cancels the others, and returns when no
    /// connection is left.
    package func stop(grace: Duration) async {
        // Not cancelled with the caller: connections that are left would be freed under their tasks.
        await Task { await self.shutDown(grace: grace) }.value
    }

    private func shutDown(grace: Duration) async {
        let daemon = state.withLock { state in
            state.isStopping = true
            defer { state.daemon = nil }
            return state.daemon
        }
        guard let daemon else { return }
        let socket = MHD_quiesce_daemon(daemon.handle)
        if socket >= 0 { close(socket) }

        await waitUntilIdle(for: grace)
        for exchange in exchanges { exchange.cancel() }
        await waitUntilIdle(for: .seconds(1))
        for exchange in exchanges { exchange.disconnect() }
        await waitUntilIdle(for: nil)

        state.withLock { $0.watch }?.cancel()
        MHD_stop_daemon(daemon.handle)
        Unmanaged.passUnretained(self).release()
    }

    private func waitUntilIdle(for limit: Duration?) async {
        let deadline = limit.map { ContinuousClock.now + $0 }
        while !exchanges.isEmpty, deadline.map({ ContinuousClock.now < $0 }) ?? true {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    private func watchExchanges() {
        let now = ContinuousClock.now
        for exchange in exchanges { exchange.watch(now: now, limits: limits) }
    }

    /// The requests in flight.
    package var exchanges: [HTTPExchange] { state.withLock { Array($0.exchanges.values) } }

    /// Whether new requests are to be turned away.
    var isStopping: Bool { state.withLock { $0.isStopping } }

    func began(_ exchange: HTTPExchange) {
        state.withLock { $0.exchanges[ObjectIdentifier(exchange)] = exchange }
    }

    func ended(_ exchange: HTTPExchange, clientLeft: Bool) {
        exchange.finish(clientLeft: clientLeft)
        log(exchange.logEntry)
        _ = state.withLock { $0.exchanges.removeValue(forKey: ObjectIdentifier(exchange)) }
    }
}
