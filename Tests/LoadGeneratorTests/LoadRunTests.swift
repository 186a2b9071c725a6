import Foundation
import LoadGenerator
import TestSupport
import Testing

@Suite("Runs against real sockets")
struct LoadRunTests {
    private func run(_ server: ScriptedServer, _ load: Load, cancelled: Double = 0) throws -> [Sample] {
        var workload = Workload(seed: 1)
        workload.inputTokens = .constant(4)
        workload.cancelledShare = cancelled
        return try LoadRun(
            load, server: ServerAddress("http://127.0.0.1:\(server.port)"), apiKey: nil,
            template: RequestTemplate(endpoint: .completions, model: "m"), workload: workload, phase: 0
        ).run()
    }

    private static let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + ScriptedServer.chunk(#"data: {"choices":[{"text":"a","finish_reason":"stop"}]}"# + "\n\n")
        + ScriptedServer.chunk("data: [DONE]\n\n") + "0\r\n\r\n"

    @Test("connections are used again, one for each client")
    func reuse() throws {
        let server = try ScriptedServer { _ in Self.answer }
        let samples = try run(server, Load(arrivals: .concurrency(4), extent: .requests(200)))
        #expect(samples.count == 200 && samples.allSatisfy { $0.outcome == .completed })
        #expect(Set(samples.map(\.index)) == Set(0..<200))
        #expect(server.connectionCount <= 4)
    }

    @Test("a connection that the server closed between requests costs no request")
    func closedWhileIdle() throws {
        let server = try ScriptedServer(requestsPerConnection: 1) { _ in Self.answer }
        let samples = try run(server, Load(arrivals: .concurrency(2), extent: .requests(50)))
        #expect(samples.allSatisfy { $0.outcome == .completed })
        #expect(server.connectionCount >= 50)
    }

    @Test("a silent server runs into the time limit, and a cancelled request is gone before it")
    func limits() throws {
        let server = try ScriptedServer { _ in "" }
        let load = Load(arrivals: .concurrency(3), extent: .requests(3), timeout: 0.2)
        let samples = try run(server, load)
        #expect(samples.allSatisfy { $0.outcome == .failed(.timeout(0.2)) && (0.2...5).contains($0.ended - $0.sent) })
        let slow = Load(arrivals: .concurrency(8), extent: .requests(8), timeout: 2)
        #expect(try run(server, slow, cancelled: 1).contains { $0.outcome == .cancelled })
    }

    @Test("waiting costs no processor time, not even for the last requests of a level")
    func idle() throws {
        let server = try ScriptedServer { _ in "" }
        for extent in [Load.Extent.requests(2), .seconds(0.01)] {
            let load = Load(arrivals: .concurrency(8), extent: extent, timeout: 1)
            let time = try threadTime { _ = try run(server, load) }
            #expect(time < .milliseconds(100))
        }
    }

    @Test("an open loop does not wait for answers")
    func openLoop() throws {
        let server = try ScriptedServer { _ in "" }
        let load = Load(arrivals: .rate(200, atMost: 100), extent: .requests(20), timeout: 0.5)
        let samples = try run(server, load)
        // The last arrives after about 0.1 s; nothing was answered until 0.5 s.
        #expect(samples.count == 20 && samples.allSatisfy { $0.sent < 0.45 && $0.sent >= $0.scheduled })
    }

    @Test("where nobody listens, every request says so")
    func unreachable() throws {
        let port: UInt16
        do { port = try ScriptedServer { _ in "" }.port }
        let load = Load(arrivals: .concurrency(2), extent: .requests(2))
        let samples = try LoadRun(
            load, server: ServerAddress("http://127.0.0.1:\(port)"), apiKey: nil,
            template: RequestTemplate(endpoint: .completions, model: "m"), workload: Workload(seed: 1), phase: 0
        ).run()
        for sample in samples {
            guard case .failed(let failure) = sample.outcome else {
                Issue.record("it did not fail")
                continue
            }
            #expect(failure.kind == "unreachable")
            #expect(failure.message.contains("Connection refused"))
        }
    }

    @Test(
        "addresses that cannot be measured are refused with the reason",
        arguments: [
            ("https://localhost", "encrypted"), ("localhost:80", "http://"), ("http://", "no URL"),
            ("http://h:0", "no URL"), ("http://no-such-host.invalid", "not known"),
        ])
    func addresses(_ url: String, _ reason: String) {
        #expect { try ServerAddress(url) } throws: { "\($0)".contains(reason) }
    }

    @Test("an API base with /v1 is the same server")
    func base() throws {
        #expect(try ServerAddress("http://127.0.0.1:80/proxy/v1/").url == "http://127.0.0.1:80/proxy")
        #expect(try ServerAddress("http://[::1]:80/").url == "http://[::1]:80")
    }
}
