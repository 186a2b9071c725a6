import Foundation
import Frontend
import Synchronization
import Testing

/// Runs a server on a free port around a body.
private func withServer(
    limits: HTTPLimits = HTTPLimits(), log: @escaping @Sendable (AccessLogEntry) -> Void = { _ in },
    handler: @escaping HTTPHandler, _ body: (ListenAddress, HTTPServer) async throws -> Void
) async throws {
    let server = HTTPServer(limits: limits, log: log, handler: handler)
    let address = try server.start(on: ListenAddress("127.0.0.1:0"))
    do {
        try await body(address, server)
    } catch {
        await server.stop(grace: .zero)
        throw error
    }
    await server.stop(grace: .zero)
    #expect(server.exchanges.isEmpty)
}

/// Answers with what it was asked.
private let echo: HTTPHandler = { request in
    HTTPResponse(status: 200, body: .bytes(Array("\(request.method) \(request.path) ".utf8) + request.body))
}

/// Waits for its cancellation, and tells.
private func patient(_ cancelled: Flag) -> HTTPHandler {
    { _ in
        await cancelled.waitForCancellation()
        return HTTPResponse(status: 499)
    }
}

final class Flag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }

    func waitForCancellation() async {
        try? await Task.sleep(for: .seconds(60))
        if Task.isCancelled { set() }
    }
}

@Suite("HTTP server", .timeLimit(.minutes(2)))
struct HTTPServerTests {
    @Test("a connection carries several requests")
    func keepAlive() async throws {
        try await withServer(handler: echo) { address, _ in
            let bodies = try await onThread {
                let client = try RawClient(address)
                return try (0..<3).map { index in
                    client.send("POST /x%20\(index) HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
                    return try client.response().body
                }
            }
            #expect(bodies == ["POST /x 0 hi", "POST /x 1 hi", "POST /x 2 hi"])
        }
    }

    @Test(
        "the key is found wherever clients put it",
        arguments: [
            ("Authorization: Bearer k1", "k1"), ("authorization: bearer  k2 ", "k2"), ("api-key: k3", "k3"),
            ("X-API-Key: k4", "k4"), ("Authorization: Basic abc", ""), ("Accept: x", ""),
            ("Authorization: Bearer k5\r\napi-key: other", "k5"),
        ])
    func key(header: String, key: String) async throws {
        let handler: HTTPHandler = { HTTPResponse(status: 200, body: .bytes(Array("<\($0.key)>".utf8))) }
        try await withServer(handler: handler) { address, _ in
            let body = try await onThread {
                let client = try RawClient(address)
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\(header)\r\n\r\n")
                return try client.response().body
            }
            #expect(body == "<\(key)>")
        }
    }

    @Test("requests that come at once are answered at once")
    func concurrency() async throws {
        let arrived = Mutex(0)
        let count = 100
        // Answers nobody before everybody has asked.
        let handler: HTTPHandler = { request in
            arrived.withLock { $0 += 1 }
            _ = try? await eventually { arrived.withLock { $0 } == count }
            return await echo(request)
        }
        try await withServer(handler: handler) { address, _ in
            try await withThrowingTaskGroup(of: String.self) { group in
                for index in 0..<count {
                    group.addTask {
                        try await onThread {
                            let client = try RawClient(address)
                            client.send("GET /\(index) HTTP/1.1\r\nHost: h\r\n\r\n")
                            return try client.response().body
                        }
                    }
                }
                var bodies: Set<String> = []
                for try await body in group { bodies.insert(body) }
                #expect(bodies == Set((0..<count).map { "GET /\($0) " }))
            }
        }
    }

    @Test("a stream reaches the client chunk by chunk")
    func stream() async throws {
        let proceed = Flag()
        let handler: HTTPHandler = { _ in
            HTTPResponse(
                status: 200,
                body: .stream(heartbeat: []) { writer in
                    await writer.write("first".utf8)
                    _ = try? await eventually { proceed.isSet }
                    await writer.write("second".utf8)
                })
        }
        try await withServer(handler: handler) { address, _ in
            let text = try await onThread {
                let client = try RawClient(address)
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                _ = try client.receive { $0.contains("first") }
                proceed.set()
                return try client.receive { $0.hasSuffix("0\r\n\r\n") }
            }
            #expect(text.contains("\r\n5\r\nfirst\r\n"))
            #expect(text.hasSuffix("\r\n6\r\nsecond\r\n0\r\n\r\n"))
        }
    }

    @Test("a silent stream carries heartbeats")
    func heartbeat() async throws {
        var limits = HTTPLimits()
        limits.heartbeat = .milliseconds(100)
        let handler: HTTPHandler = { _ in
            HTTPResponse(
                status: 200,
                body: .stream(heartbeat: Array(": beat\n\n".utf8)) { _ in try? await Task.sleep(for: .seconds(60)) })
        }
        try await withServer(limits: limits, handler: handler) { address, _ in
            _ = try await onThread {
                let client = try RawClient(address)
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                return try client.receive { $0.components(separatedBy: ": beat").count > 3 }
            }
        }
    }

    @Test("a client that leaves cancels its request", arguments: ["waiting", "streaming", "shut", "reset"])
    func disconnect(manner: String) async throws {
        let cancelled = Flag()
        let log = Mutex<[AccessLogEntry]>([])
        let handler: HTTPHandler = { request in
            guard manner == "streaming" else { return await patient(cancelled)(request) }
            return HTTPResponse(
                status: 200,
                body: .stream(heartbeat: []) { writer in
                    await writer.write("begun".utf8)
                    await cancelled.waitForCancellation()
                })
        }
        try await withServer(log: { entry in log.withLock { $0.append(entry) } }, handler: handler) { address, server in
            let client = try await onThread {
                let client = try RawClient(address)
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                if manner == "streaming" { _ = try client.receive { $0.contains("begun") } }
                return client
            }
            #expect(try await eventually { server.exchanges.count == 1 })
            let start = ContinuousClock.now
            switch manner {
            case "shut": client.finishSending()
            case "reset": client.reset()
            default: client.close()
            }
            #expect(try await eventually { cancelled.isSet })
            #expect(start.duration(to: .now) < .seconds(1))
            #expect(try await eventually { server.exchanges.isEmpty })
            #expect(log.withLock { $0.map(\.clientLeft) } == [true])
        }
    }

    @Test("a client that does not read holds its producer back, and no other")
    func backpressure() async throws {
        let written = Mutex(0)
        let handler: HTTPHandler = { request in
            guard request.path == "/flood" else { return await echo(request) }
            return HTTPResponse(
                status: 200,
                body: .stream(heartbeat: []) { writer in
                    let chunk = [UInt8](repeating: 0x61, count: 64 << 10)
                    while !Task.isCancelled {
                        await writer.write(chunk)
                        written.withLock { $0 += chunk.count }
                    }
                })
        }
        try await withServer(handler: handler) { address, server in
            let flooded = try RawClient(address)
            flooded.send("GET /flood HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try await eventually { written.withLock { $0 } > 0 })
            let body = try await onThread {
                let client = try RawClient(address)
                client.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
                return try client.response().body
            }
            #expect(body == "GET /other ")
            #expect(written.withLock { $0 } < 64 << 20)
            flooded.close()
            #expect(try await eventually { server.exchanges.isEmpty })
        }
    }

    @Test("stopping lets requests end, and cancels those that do not", arguments: [true, false])
    func stop(ends: Bool) async throws {
        let cancelled = Flag()
        let proceed = Flag()
        let handler: HTTPHandler = { request in
            if !ends { return await patient(cancelled)(request) }
            _ = try? await eventually { proceed.isSet }
            return await echo(request)
        }
        let server = HTTPServer(handler: handler)
        let address = try server.start(on: ListenAddress("127.0.0.1:0"))
        let client = try RawClient(address)
        client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        let sending = try RawClient(address)
        if !ends { sending.send("POST /never HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n") }
        #expect(try await eventually { server.exchanges.count == (ends ? 1 : 2) })
        async let stopped: Void = server.stop(grace: ends ? .seconds(20) : .zero)
        #expect(try await eventually { (try? RawClient(address)) == nil })
        proceed.set()
        let response = try await onThread { try client.response() }
        await stopped
        #expect(response.head.hasPrefix(ends ? "HTTP/1.1 200" : "HTTP/1.1 499"))
        #expect(cancelled.isSet == !ends)
        #expect(server.exchanges.isEmpty)
    }
}

extension RawClient {
    /// Says that nothing more will be sent.
    func finishSending() { shutDown(Int32(SHUT_WR)) }
}
