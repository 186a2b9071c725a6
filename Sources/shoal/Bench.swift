import Checkpoints
import Foundation
import JSON
import LoadGenerator

enum Bench: Command {
    static let name = "bench"
    static let summary = "Measure an OpenAI-compatible server under load."
    static let discussion = """
        Sends streaming requests to Shoal, llama-server, vLLM or any other server with OpenAI's API, and measures what
        comes back. With --concurrency a fixed number of clients each send when their last request has ended (a closed
        loop). Such clients slow down with the server, so that no one waits who would have waited: coordinated omission.
        With --rate requests arrive at random however long the others take (an open loop), and each is timed from the
        moment of its arrival: use it to learn what users of a busy server see. A comma list of either is a sweep.

        What is reported, over completed requests:
          TTFT          from sending (with --rate: from arrival) to the first chunk with text
          ITL           between one chunk with text and the next; a chunk may hold several tokens
          TPOT          from the first chunk to the last, divided by the tokens after the first
          end to end    from sending or arrival to the end of the answer; queue: from arrival to sending
          out tok/s     generated tokens over the time from the first request's sending to the last one's end, so with
                        prefill, waiting and the thinning out at the end; `in tok/s` and `requests/s` alike
          steady tok/s  tokens that came while every client's request was between its first and its last chunk, over
                        the time in which that was so: the rate of decoding alone. None with --rate
          p50 p90 p99   the smallest measurement that at least that share of all do not exceed (nearest rank)
        Tokens are what the server's usage says; where it says nothing, chunks with text.

        Exit code 1 where a request failed. A client whose request failed waits 0.1 s before its next.
        """
    static let flags = [
        Flag("url", "URL", "Where the server listens (default http://127.0.0.1:8080)."),
        Flag("model", "NAME", "The model's name (default: the first that the server lists)."),
        Flag("api-key", "KEY", "Sent as a bearer token."),
        Flag("endpoint", "E", "completions (default; prompts of token ids) or chat (one message of random words)."),
        Flag("concurrency", "N", "Clients at a time, or a comma list (default 1)."),
        Flag("rate", "R", "Requests that arrive each second, or a comma list; instead of --concurrency."),
        Flag("max-concurrency", "N", "With --rate: more wait their turn (default 1024)."),
        Flag("requests", "N", "Requests, or a comma list with one number for each level (default 32)."),
        Flag("duration", "SECONDS", "Send for so long instead, and wait for what then runs."),
        Flag("warm-up", "N", "Requests sent before each level that do not count (default 0)."),
        Flag("timeout", "SECONDS", "A request that takes longer has failed (default 600)."),
        Flag("input-tokens", "D", "Prompt lengths: 128 (default), uniform:16-512, normal:256,64, lognormal:200,0.8."),
        Flag("output-tokens", "D", "What max_tokens says, in the same forms (default 64)."),
        Flag("token-range", "A-B", "Ids in prompts (default: by the server's /tokenize, or else 1000-100000)."),
        Flag("shared-prefix", "P", "What prompts have in common: a share such as 0.5, or tokens such as 2000."),
        Flag("prefixes", "N", "Different common parts (default 1)."),
        Flag("seed", "N", "Which workload (default: a new one, since a server may remember the last one's prompts)."),
        Flag("temperature", "T", "0 (default) always takes the most likely token."),
        Flag("request-seed", "N", "The first request's `seed`; the next one's is one more (default: none is sent)."),
        Flag("ignore-eos", nil, "Send `ignore_eos`, so that answers are as long as asked; some servers refuse it."),
        Flag("cancel", "SHARE", "Close so many of the connections at a random moment, such as 0.1; no failures."),
        Flag("allow-errors", nil, "Exit code 0 although requests failed."),
        Flag("json", "FILE", "Write settings, summaries and every request's times."),
        Flag("plot", "FILE", "Write an SVG: a sweep's throughput and latencies, or one level's distributions."),
    ]

    static func run(_ arguments: Arguments) async throws {
        let settings = try BenchSettings(arguments)
        for name in ["json", "plot"] { if let file = arguments.string(name) { try checkWritable(file) } }
        let levels = try await withCheckedThrowingContinuation { continuation in
            // A thread of its own: nothing may come between a token's arrival and its time stamp.
            Thread.detachNewThread { continuation.resume(with: Result { try measure(settings) }) }
        }
        let report = Report(settings: settings.json, levels: levels)
        try printOutput(report.text)
        if let file = arguments.string("json") { try write(report.json.serialized + "\n", to: file) }
        if let file = arguments.string("plot") {
            try write(report.plot(title: "\(settings.template.model) at \(settings.server.url)"), to: file)
        }
        if report.failedCount > 0, !arguments.has("allow-errors") {
            throw Failure("\(report.failedCount) requests failed")
        }
    }

    private static func measure(_ settings: BenchSettings) throws -> [LevelReport] {
        try settings.loads.enumerated().map { index, load in
            var warmUp = load
            warmUp.extent = .requests(settings.warmUp)
            _ = try samples(of: warmUp, settings, phase: 2 * index, "warming up")
            return LevelReport(load, try samples(of: load, settings, phase: 2 * index + 1, "\(load)"))
        }
    }

    private static func samples(
        of load: Load, _ settings: BenchSettings, phase: Int, _ label: String
    ) throws -> [Sample] {
        let progress = Progress(label)
        var ended = 0
        let run = try LoadRun(
            load, server: settings.server, apiKey: settings.apiKey, template: settings.template,
            workload: settings.workload, phase: phase
        ) { sample in
            ended += 1
            switch load.extent {
            case .requests(let count): progress.show(Double(ended) / Double(count))
            case .seconds(let limit): progress.show(sample.ended / limit)
            }
        }
        return run.run()
    }

    /// A file that cannot be written is better known before the measurement than after it.
    private static func checkWritable(_ file: String) throws(Failure) {
        guard let stream = fopen(file, "a") else {
            throw Failure("cannot write \(file): \(String(cString: strerror(errno)))")
        }
        fclose(stream)
    }

    private static func write(_ text: String, to file: String) throws(Failure) {
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: file)) } catch {
            throw Failure("cannot write \(file): \(systemReason(error))")
        }
    }
}
