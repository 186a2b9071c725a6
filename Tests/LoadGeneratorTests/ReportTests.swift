import Foundation
import JSON
import LoadGenerator
import Testing

#if canImport(FoundationXML)
    import FoundationXML
#endif

@Suite("The report")
struct ReportTests {
    private func sample(
        _ index: Int, scheduled: Double, sent: Double, chunks: [Double], tokens: Int? = nil,
        outcome: Sample.Outcome = .completed
    ) -> Sample {
        var sample = Sample(index: index, scheduled: scheduled, sent: sent, inputTokens: 10)
        sample.chunks = chunks
        sample.ended = (chunks.last ?? sent) + 0.5
        sample.countedOutputTokens = tokens
        sample.outcome = outcome
        return sample
    }

    @Test("latencies count from the scheduled moment, so that waiting is not omitted")
    func latencies() {
        let load = Load(arrivals: .rate(1, atMost: 1), extent: .requests(1))
        let report = LevelReport(load, [sample(0, scheduled: 1, sent: 3, chunks: [5, 6, 8], tokens: 7)])
        #expect(report.values(.queue) == [2] && report.values(.timeToFirstToken) == [4])
        #expect(report.values(.interTokenLatency) == [1, 2] && report.values(.timePerOutputToken) == [0.5])
        #expect(report.values(.endToEnd) == [7.5])
        #expect(report.seconds == 5.5 && report.outputRate == 7 / 5.5 && report.inputRate == 10 / 5.5)
        #expect(report.steadyState == nil)
    }

    @Test("only completed requests are measured; the others are counted by kind")
    func outcomes() {
        let failed = [
            RequestFailure.dropped("a"), .dropped("b"), .status(500, "c"),
        ].map { sample(0, scheduled: 0, sent: 0, chunks: [1], outcome: .failed($0)) }
        let others = [
            sample(0, scheduled: 0, sent: 0, chunks: [1, 2]),
            sample(1, scheduled: 0, sent: 0, chunks: [3], outcome: .cancelled),
        ]
        let report = LevelReport(Load(arrivals: .concurrency(1), extent: .requests(5)), failed + others)
        #expect(report.values(.timeToFirstToken) == [1])
        #expect(report.cancelledCount == 1 && report.failedCount == 3 && report.outputTokens == 2)
        #expect(report.failures.map(\.kind) == ["dropped connection", "HTTP 500"])
        #expect(report.failures.map(\.count) == [2, 1] && report.failures.first?.example == "a")
    }

    @Test("the steady state is when all decode: tokens after its beginning, up to its end")
    func steadyState() {
        let samples = [
            sample(0, scheduled: 0, sent: 0, chunks: [1, 2, 3, 4, 5]),
            sample(1, scheduled: 0, sent: 0, chunks: [3, 4, 5, 6, 7], tokens: 10),
        ]
        // From 3 to 5: of the first 4 and 5, of the second, two tokens a chunk, 4 and 5; and the first's own 3.
        let state = SteadyState(samples, streams: 2)
        #expect(state.seconds == 2 && state.tokens == 2 + 4 && state.rate == 3)
        #expect(SteadyState(samples, streams: 3).rate == nil)
        #expect(SteadyState(samples, streams: 1).seconds == 6)
        #expect(SteadyState([], streams: 1).rate == nil)
    }

    @Test("a sweep's table has a line for each level, and all are written as JSON")
    func sweep() throws {
        let levels = [1, 2].map { clients in
            LevelReport(
                Load(arrivals: .concurrency(clients), extent: .requests(1)),
                [sample(0, scheduled: 0, sent: 0, chunks: [0.1, 0.2], tokens: 2)])
        }
        let report = Report(settings: JSONObject(), levels: levels)
        let lines = report.text.split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("      1  ") }.count == 5)
        let json = try JSONValue(parsing: report.json.serialized)
        let level = try #require(json["levels"]?.array?.last)
        #expect(level["concurrency"]?.integer == 2 && level["latency"]?["TTFT"]?["p50"]?.double == 0.1)
        #expect(level["samples"]?.array?.first?["chunks"]?.array?.map(\.double) == [0.1, 0.2])
    }

    @Test("plots are well-formed XML, with names that need escaping, and where nothing was measured")
    func plots() throws {
        let some = LevelReport(
            Load(arrivals: .concurrency(1), extent: .requests(1)),
            [sample(0, scheduled: 0, sent: 0, chunks: [0.1, 0.2])])
        let none = LevelReport(Load(arrivals: .concurrency(2), extent: .requests(1)), [])
        for levels in [[some], [none], [some, none], []] {
            let svg = Report(settings: JSONObject(), levels: levels).plot(title: "<a & b>")
            #expect(XMLParser(data: Data(svg.utf8)).parse())
            #expect(!svg.contains("nan") && !svg.contains("inf"))
        }
    }

    @Test(
        "axes have few round marks that cover all",
        arguments: [0: [0, 1], 1: [0, 0.2, 0.4, 0.6, 0.8, 1], 7: [0, 2, 4, 6, 8], 96: [0, 20, 40, 60, 80, 100]]
            as [Double: [Double]])
    func ticks(_ greatest: Double, _ expected: [Double]) {
        let found = Chart.ticks(upTo: greatest)
        #expect(found.count == expected.count)
        for (a, b) in zip(found, expected) { #expect(abs(a - b) < 1e-9) }
    }
}
