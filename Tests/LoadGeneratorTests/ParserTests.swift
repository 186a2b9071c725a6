import LoadGenerator
import TestSupport
import Testing

@Suite("HTTP responses and server-sent events")
struct ParserTests {
    private func body(_ text: String, pieces size: Int) throws -> (String, HTTPResponseParser) {
        var parser = HTTPResponseParser()
        var body: [UInt8] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            body += try parser.receive(bytes[start..<min(start + size, bytes.count)])
        }
        return (String(decoding: body, as: UTF8.self), parser)
    }

    @Test("a response reads the same in whatever pieces it comes", arguments: [1, 2, 3, 7, 1000])
    func pieces(_ size: Int) throws {
        let chunked = try body(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "5;x=y\r\nhello\r\nA\r\n, world!!!\r\n0\r\nTrailer: z\r\n\r\n", pieces: size)
        #expect(chunked.0 == "hello, world!!!")
        #expect(chunked.1.isComplete && chunked.1.keepsAlive && chunked.1.status == 200)
        let sized = try body(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops", pieces: size)
        #expect(sized.0 == "oops" && sized.1.isComplete && !sized.1.keepsAlive && sized.1.status == 404)
        var open = try body("HTTP/1.0 200 OK\n\nuntil the end", pieces: size)
        #expect(open.0 == "until the end" && !open.1.isComplete)
        let isWhole = open.1.close()
        #expect(isWhole && open.1.isComplete)
    }

    @Test("a response that breaks off is not complete")
    func brokenOff() throws {
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"] {
            var parser = try body(text, pieces: 100).1
            let isWhole = parser.close()
            #expect(!isWhole)
        }
    }

    @Test("a second response that nobody asked for ends the connection")
    func surplus() throws {
        let (text, parser) = try body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", pieces: 9)
        #expect(text == "hi" && parser.isComplete && !parser.keepsAlive)
    }

    @Test(
        "what is not HTTP is refused",
        arguments: [
            "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 huh OK\r\n\r\n", "HTTP/1.1\r\n\r\n", "\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        ])
    func notHTTP(_ text: String) {
        #expect(throws: LoadError.self) { try body(text, pieces: 1000) }
    }

    @Test("a head or a chunk line without end is refused")
    func unbounded() {
        let endless = String(repeating: "a", count: 100_000)
        #expect(throws: LoadError.self) { try body("HTTP/1.1 200 OK\r\nX: " + endless, pieces: 4096) }
        #expect(throws: LoadError.self) {
            try body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + endless, pieces: 4096)
        }
    }

    @Test("random bytes never trap, neither parser")
    func fuzz() {
        var random = SeededGenerator(seed: 1)
        let seeds = [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "data: {\"a\":1}\n\n: x\n\n",
        ].map { Array($0.utf8) }
        for round in 0..<20_000 {
            var bytes = seeds[round % 2]
            for _ in 0..<3 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(truncatingIfNeeded: random.next())
            }
            var response = HTTPResponseParser()
            var events = EventStreamParser()
            _ = try? response.receive(bytes)
            _ = response.close()
            _ = try? events.receive(bytes)
            var exchange = Exchange(Sample(index: 0, scheduled: 0, sent: 0, inputTokens: 1), cancellation: nil)
            exchange.receive(bytes, at: 1)
            exchange.close(at: 2, reason: "closed")
            #expect(exchange.hasEnded)
        }
    }

    @Test("events come whole, in whatever pieces and with whatever line ends", arguments: [1, 2, 5, 1000])
    func events(_ size: Int) throws {
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                ": comment", "", "data: one", "", "event: x", "data:two", "data:  2", "id: 7", "", "data", "",
                "retry: 5",
                "", "data: never ended",
            ]
            let bytes = Array((lines.joined(separator: end) + end).utf8)
            var parser = EventStreamParser()
            var found: [String] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                found += try parser.receive(bytes[start..<min(start + size, bytes.count)]).map {
                    String(decoding: $0, as: UTF8.self)
                }
            }
            #expect(found == ["one", "two\n 2", ""])
        }
    }

    @Test("an event without end is refused")
    func endlessEvent() {
        var parser = EventStreamParser()
        #expect(throws: LoadError.self) { try parser.receive(Array(repeating: UInt8(ascii: "x"), count: 2 << 20)) }
    }
}
