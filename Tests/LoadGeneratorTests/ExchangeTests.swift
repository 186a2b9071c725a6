import LoadGenerator
import Testing

@Suite("One request's answer")
struct ExchangeTests {
    private func exchange(_ cancellation: Workload.Cancellation? = nil) -> Exchange {
        Exchange(Sample(index: 0, scheduled: 0, sent: 1, inputTokens: 3), cancellation: cancellation)
    }

    /// One piece of a stream, at each second from 2 on.
    private func stream(_ events: [String], into exchange: inout Exchange, ended: Bool = true) {
        exchange.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".utf8, at: 1.5)
        for (second, event) in events.enumerated() {
            let data = "data: \(event)\n\n"
            exchange.receive("\(String(data.utf8.count, radix: 16))\r\n\(data)\r\n".utf8, at: Double(second + 2))
        }
        if ended { exchange.receive("0\r\n\r\n".utf8, at: 100) }
    }

    private func text(_ text: String, finish: String = "null") -> String {
        #"{"choices":[{"index":0,"text":"\#(text)","finish_reason":\#(finish)}]}"#
    }

    @Test("chunks with text are stamped; the server's own counts win")
    func completion() {
        var exchange = exchange()
        stream(
            [
                text("a"), text(""), text("bc"), text("", finish: #""length""#),
                #"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#,
                "[DONE]",
            ], into: &exchange)
        let sample = exchange.sample
        #expect(sample.outcome == .completed && exchange.leavesConnectionOpen)
        #expect(sample.chunks == [2, 4] && sample.ended == 100)
        #expect(sample.inputTokens == 9 && sample.outputTokens == 5 && sample.cachedTokens == 4)
    }

    @Test("without usage, chunks with text are counted and the prompt is as long as it was sent")
    func withoutUsage() {
        var exchange = exchange()
        stream([text("a"), text("b", finish: #""stop""#), "[DONE]"], into: &exchange)
        #expect(exchange.sample.outputTokens == 2 && exchange.sample.inputTokens == 3)
        #expect(exchange.sample.cachedTokens == nil && exchange.sample.countedOutputTokens == nil)
    }

    @Test("in a chat the role alone is no text; reasoning and tool calls are")
    func chat() {
        func delta(_ json: String) -> String { #"{"choices":[{"index":0,"delta":\#(json),"finish_reason":null}]}"# }
        var exchange = exchange()
        stream(
            [
                delta(#"{"role":"assistant","content":""}"#), delta(#"{"reasoning_content":"hm"}"#),
                delta(#"{"content":"x"}"#), delta(#"{"tool_calls":[{"index":0}]}"#), delta("{}"), "[DONE]",
            ], into: &exchange)
        #expect(exchange.sample.chunks == [3, 4, 5])
    }

    @Test("each way to fail has its name")
    func failures() {
        func kind(_ feed: (inout Exchange) -> Void) -> String? {
            var exchange = exchange()
            feed(&exchange)
            guard case .failed(let failure) = exchange.sample.outcome, exchange.hasEnded else { return nil }
            #expect(!exchange.leavesConnectionOpen)
            return "\(failure.kind): \(failure.message)"
        }
        #expect(
            kind {
                $0.receive(
                    "HTTP/1.1 429 No\r\nContent-Length: 38\r\n\r\n{\"error\": {\"message\": \"the queue is\"}}".utf8,
                    at: 2)
            } == "HTTP 429: the queue is")
        #expect(
            kind {
                $0.receive("HTTP/1.0 502 Bad\r\n\r\n<html>\n".utf8, at: 2)
                $0.close(at: 3, reason: "gone")
            } == "HTTP 502: <html>")
        #expect(
            kind { stream([#"{"error":{"message":"no experts"}}"#], into: &$0) } == "error in the stream: no experts")
        #expect(
            kind { stream(["{nonsense"], into: &$0) }?.hasPrefix("malformed: an event's data is '{nonsense'") == true)
        #expect(kind { stream(["{}"], into: &$0) } == "malformed: an event has no 'choices'")
        #expect(kind { stream([text("a")], into: &$0) }?.hasPrefix("malformed: the stream ended without") == true)
        #expect(kind { $0.receive("SSH-2.0\r\n\r\n".utf8, at: 2) }?.hasPrefix("malformed: 'SSH-2.0'") == true)
        #expect(
            kind {
                stream([text("a"), text("b")], into: &$0, ended: false)
                $0.close(at: 9, reason: "reset")
            } == "dropped connection: reset after 2 chunks with text")
        #expect(
            kind { $0.close(at: 9, reason: "reset") } == "dropped connection: reset before any answer")
    }

    @Test("a cancellation comes after its number of chunks, and counts as neither success nor failure")
    func cancellation() {
        var exchange = exchange(.afterChunks(2))
        stream([text("a"), text("b"), text("c")], into: &exchange, ended: false)
        #expect(exchange.sample.outcome == .cancelled && exchange.sample.chunks == [2, 3])
        #expect(!exchange.leavesConnectionOpen)
        #expect(self.exchange(.afterSeconds(0.25)).cancelTime == 1.25)
        #expect(self.exchange().cancelTime == .infinity)
    }
}
