import JSON

/// Sends one load's requests and notes what comes back, on the calling thread alone.
///
/// Whatever waits at the sockets is first read, and each piece stamped, before any of it is looked at: parsing one
/// stream must not age another's tokens.
public final class LoadRun {
    /// How often time limits are looked at, in seconds.
    private static let tick = 0.02

    private let server: ServerAddress
    private let apiKey: String?
    private let template: RequestTemplate
    private let workload: Workload
    private let phase: Int
    private let load: Load
    private let onEnd: (Sample) -> Void

    private let poller: Poller
    private let start = ContinuousClock.now
    private var dispatch: Dispatch
    private var connections: [Int32: Connection] = [:]
    private var idle: [Int32] = []
    private var active = 0
    private var samples: [Sample] = []
    private var nextTick = 0.0

    /// - Parameters:
    ///   - phase: Which of the workload's phases: each has prompts of its own.
    ///   - onEnd: Told of each request as it ends.
    /// - Throws: ``LoadError``.
    public init(
        _ load: Load, server: ServerAddress, apiKey: String?, template: RequestTemplate, workload: Workload,
        phase: Int, onEnd: @escaping (Sample) -> Void = { _ in }
    ) throws {
        self.load = load
        self.server = server
        self.apiKey = apiKey
        self.template = template
        self.workload = workload
        self.phase = phase
        self.onEnd = onEnd
        poller = try Poller()
        dispatch = Dispatch(load, seed: workload.seed)
    }

    private var now: Double { start.duration(to: .now) / .seconds(1) }

    /// Sends everything and waits for all of it; the samples are in the order in which requests ended.
    public func run() -> [Sample] {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            while let turn = dispatch.next(at: now, active: active) { send(turn) }
            let isOver = dispatch.isOver(at: now)
            if active == 0, isOver { return samples }
            let turn = isOver ? .infinity : dispatch.earliest(active: active)
            let deadline = active == 0 ? turn : min(nextTick, turn)
            let ready = poller.wait(seconds: deadline - now).compactMap { connections[$0] }
            let arrivals = ready.map { connection in
                // Reading comes first, because it tells why a connection failed.
                let arrival = (connection, connection.receive(into: &buffer), now)
                if connection.isSending { write(connection) }
                return arrival
            }
            for (connection, arrival, time) in arrivals { take(arrival, from: connection, at: time) }
            if now >= nextTick { enforceLimits() }
        }
    }

    private func send(_ turn: Dispatch.Turn) {
        let planned = workload.request(turn.index, phase: phase)
        let request = server.request(
            template.path, body: template.body(planned, index: turn.index).serialized, apiKey: apiKey)
        let sample = Sample(
            index: turn.index, scheduled: turn.scheduled, sent: now, inputTokens: planned.prompt.count)
        let exchange = Exchange(sample, cancellation: planned.cancellation)
        active += 1
        if let connection = idle.popLast().flatMap({ connections[$0] }) {
            connection.reuse(exchange, request: request)
            write(connection)
            if connection.isSending { poller.change(connection.descriptor, writes: true) }
        } else {
            open(exchange, request: request)
        }
    }

    private func open(_ exchange: Exchange, request: [UInt8]) {
        do {
            let connection = Connection(try server.connect(), exchange, request: request)
            connections[connection.descriptor] = connection
            poller.add(connection.descriptor, writes: true)
        } catch {
            var exchange = exchange
            exchange.end(.failed(.unreachable("\(error)")), at: now)
            note(exchange)
        }
    }

    private func write(_ connection: Connection) {
        connection.send()
        if !connection.isSending { poller.change(connection.descriptor, writes: false) }
    }

    private func take(_ arrival: Connection.Arrival, from connection: Connection, at time: Double) {
        switch arrival {
        case .nothing: return
        case .bytes(let bytes):
            // An idle connection has nothing to say.
            guard connection.exchange != nil else { return drop(connection) }
            connection.exchange?.receive(bytes, at: time)
        case .closed(let reason):
            guard let exchange = connection.exchange else { return drop(connection) }
            if connection.isReused, !exchange.hasBegun {
                // The server closed it for idleness just as it was used again: no fault of the request's.
                drop(connection)
                return open(exchange, request: connection.request)
            }
            if !connection.hasSent {
                connection.exchange?.end(
                    .failed(.unreachable("cannot connect to \(server.authority): \(reason)")), at: time)
            } else {
                connection.exchange?.close(at: time, reason: reason)
            }
        }
        settle(connection)
    }

    /// Looks whether the exchange has ended, and what becomes of the connection then.
    private func settle(_ connection: Connection) {
        guard let exchange = connection.exchange, exchange.hasEnded else { return }
        if exchange.leavesConnectionOpen {
            connection.exchange = nil
            idle.append(connection.descriptor)
        } else {
            drop(connection)
        }
        note(exchange)
    }

    private func drop(_ connection: Connection) {
        connections[connection.descriptor] = nil
        idle.removeAll { $0 == connection.descriptor }
        connection.hangUp()
    }

    private func note(_ exchange: Exchange) {
        active -= 1
        samples.append(exchange.sample)
        if case .failed = exchange.sample.outcome { dispatch.failed(at: exchange.sample.ended) }
        onEnd(exchange.sample)
    }

    private func enforceLimits() {
        let time = now
        nextTick = time + Self.tick
        for connection in connections.values {
            guard let exchange = connection.exchange else { continue }
            if time >= exchange.cancelTime {
                connection.exchange?.end(.cancelled, at: time)
            } else if time - exchange.sample.sent >= load.timeout {
                connection.exchange?.end(.failed(.timeout(load.timeout)), at: time)
            }
            settle(connection)
        }
    }
}
