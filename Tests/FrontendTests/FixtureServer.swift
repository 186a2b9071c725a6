import Checkpoints
import Engine
import Foundation
import Frontend
import Harmony
import JSON
import Synchronization
import TestSupport
import Testing
import Tokenization
import Transformer

/// A server of one of the fixtures' models, and a client for it.
struct FixtureServer: Sendable {
    static let modelName = "fixture"

    let engine: Engine
    let harmony: HarmonyEncoding
    let endTokens: Set<Int32>
    let address: ListenAddress
    let log: Log

    final class Log: Sendable {
        private let entries = Mutex<[AccessLogEntry]>([])
        func add(_ entry: AccessLogEntry) { entries.withLock { $0.append(entry) } }
        var all: [AccessLogEntry] { entries.withLock { $0 } }
    }

    /// Runs a server around a body.
    static func run(
        model folder: URL? = Fixtures.models.first, options: EngineOptions = EngineOptions(),
        readiness: @escaping @Sendable () -> Readiness = { .ready },
        _ body: (FixtureServer) async throws -> Void
    ) async throws {
        let folder = try #require(folder)
        let checkpoint = try Checkpoint(directory: folder)
        let harmony = try HarmonyEncoding(tokenizer: Tokenizer(contentsOf: folder.appending(path: "tokenizer.json")))
        let endTokens = harmony.stopTokens
        let engine = try await Engine(options: options) {
            let transformer = try Transformer(checkpoint: checkpoint, precision: .exact, threads: 1)
            return (transformer, transformer.makeLocalExperts())
        }
        let log = Log()
        let server = FrontendServer(
            configuration: FrontendConfiguration(
                listen: try ListenAddress("127.0.0.1:0"), modelName: modelName, endTokens: endTokens),
            engine: engine, harmony: harmony, readiness: readiness, cluster: { ["workers": []] },
            now: { Date(timeIntervalSince1970: 1_751_111_111) }, accessLog: { log.add($0) })
        let address = try server.start()
        let fixture = FixtureServer(
            engine: engine, harmony: harmony, endTokens: endTokens, address: address, log: log)
        do {
            try await body(fixture)
        } catch {
            await server.stop(grace: .zero)
            await engine.shutdown()
            throw error
        }
        await server.stop(grace: .zero)
        #expect(engine.metrics.running + engine.metrics.waiting == 0)
        await engine.shutdown()
    }

    struct Reply: Sendable {
        var status: Int
        var head: String
        var body: String
        var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }

        /// The values that a stream carried, without its `[DONE]`.
        var events: [JSONValue] {
            get throws {
                var blocks = body.components(separatedBy: "\n\n")
                #expect(blocks.popLast() == "")
                #expect(blocks.popLast() == "data: [DONE]")
                return try blocks.filter { !$0.hasPrefix(":") }.map { block in
                    #expect(block.hasPrefix("data: "))
                    return try JSONValue(parsing: String(block.dropFirst(6)))
                }
            }
        }
    }

    func post(_ path: String, _ body: JSONValue) async throws -> Reply {
        try await request("POST", path, Array(body.serialized.utf8))
    }

    func get(_ path: String) async throws -> Reply { try await request("GET", path) }

    func request(_ method: String, _ path: String, _ body: [UInt8] = []) async throws -> Reply {
        let address = address
        return try await onThread {
            let client = try RawClient(address)
            client.send(
                "\(method) \(path) HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\r\n")
            client.send(body)
            let text = try client.receive(within: .seconds(60))
            let end = try #require(text.range(of: "\r\n\r\n"))
            let head = String(text[..<end.lowerBound])
            var body = String(text[end.upperBound...])
            if head.contains("chunked") { body = Self.joinChunks(body) }
            return Reply(status: Int(head.dropFirst(9).prefix(3)) ?? 0, head: head, body: body)
        }
    }

    private static func joinChunks(_ body: String) -> String {
        var rest = Array(body.utf8)[...]
        var joined: [UInt8] = []
        while let lineEnd = rest.firstIndex(of: 0x0D) {
            let size = Int(String(decoding: rest[..<lineEnd], as: UTF8.self), radix: 16) ?? 0
            guard size > 0 else { break }
            joined += rest.dropFirst(lineEnd - rest.startIndex + 2).prefix(size)
            rest = rest.dropFirst(lineEnd - rest.startIndex + 2 + size + 2)
        }
        return String(decoding: joined, as: UTF8.self)
    }
}
