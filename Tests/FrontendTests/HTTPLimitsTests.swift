import Foundation
import Frontend
import Testing

@Suite("HTTP limits", .timeLimit(.minutes(2)))
struct HTTPLimitsTests {
    private func exchange(
        limits: HTTPLimits, _ talk: @escaping @Sendable (RawClient) throws -> String
    ) async throws -> String {
        let server = HTTPServer(limits: limits) { request in
            HTTPResponse(status: 200, body: .bytes(Array("\(request.body.count)".utf8)))
        }
        let address = try server.start(on: ListenAddress("127.0.0.1:0"))
        let result = try? await onThread { try talk(RawClient(address)) }
        await server.stop(grace: .zero)
        return try #require(result)
    }

    private var small: HTTPLimits {
        var limits = HTTPLimits()
        limits.bodyBytes = 1000
        limits.bodyTime = .milliseconds(300)
        limits.idleSeconds = 1
        return limits
    }

    @Test(
        "a body beyond the limit is answered with 413",
        arguments: [(1000, 200), (1001, 413), (3999, 413), (50_000, 413)])
    func bodyLimit(size: Int, status: Int) async throws {
        let text = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(size)\r\n\r\n")
            if size < 50_000 { client.send([UInt8](repeating: 0x61, count: size)) }
            let response = try client.response()
            return response.head + response.body
        }
        #expect(text.hasPrefix("HTTP/1.1 \(status)"))
        #expect(status == 200 || text.contains("\"code\":\"request_too_large\""))
    }

    @Test("a client that asks first is told 413 before it sends")
    func expectContinue() async throws {
        let head = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
            return try client.response().head
        }
        #expect(head.hasPrefix("HTTP/1.1 413"))
    }

    @Test("a chunked body beyond the limit is answered with 413")
    func chunkedBody() async throws {
        let head = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in 0..<3 { client.send("1f4\r\n" + String(repeating: "a", count: 500) + "\r\n") }
            client.send("0\r\n\r\n")
            return try client.response().head
        }
        #expect(head.hasPrefix("HTTP/1.1 413"))
    }

    @Test("an endless body is cut off")
    func endlessBody() async throws {
        let text = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in 0..<20 { client.send("1f4\r\n" + String(repeating: "a", count: 500) + "\r\n") }
            return try client.receive()
        }
        #expect(!text.hasPrefix("HTTP/1.1 200"))
    }

    @Test("a body that drips in is cut off")
    func drippingBody() async throws {
        let start = ContinuousClock.now
        _ = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n")
            for _ in 0..<300 {
                client.send("a")
                if let text = try? client.receive(within: .milliseconds(20)) { return text }
            }
            return "still open"
        }
        #expect(start.duration(to: .now) < .seconds(5))
    }

    @Test("a connection on which nothing happens is closed")
    func idle() async throws {
        let text = try await exchange(limits: small) { client in
            client.send("POST / HTTP/1.1\r\nHost:")
            return try client.receive()
        }
        #expect(!text.hasPrefix("HTTP/1.1 200"))
    }

    @Test("headers beyond the limit are refused")
    func headers() async throws {
        let text = try await exchange(limits: small) { client in
            client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + String(repeating: "a", count: 200_000) + "\r\n\r\n")
            return try client.receive { $0.contains("\r\n\r\n") }
        }
        #expect(text.isEmpty || text.hasPrefix("HTTP/1.1 4"))
    }
}
