import Engine
import Foundation
import JSON

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

enum Status: Command {
    static let name = "status"
    static let summary = "Show the members of a running cluster, and what each owns."
    static let discussion = "Asks a running `shoal serve` or `shoal up`. Exit code 1 where it cannot be reached."
    static let flags = [
        Flag("url", "URL", "Where it listens (default http://127.0.0.1:8080)."),
        Flag("json", nil, "What GET /cluster answers, as it is."),
    ]

    static func run(_ arguments: Arguments) async throws {
        let base = arguments.string("url") ?? "http://127.0.0.1:8080"
        guard let url = URL(string: base + "/cluster") else { throw UsageError("--url is '\(base)'; expected a URL") }
        let data: Data
        do {
            (data, _) = try await URLSession.shared.data(for: URLRequest(url: url, timeoutInterval: 10))
        } catch {
            throw Failure("no answer from \(url): \(error.localizedDescription)")
        }
        let status = try JSONValue(parsing: data)
        guard let workers = status["workers"]?.array else { throw Failure("\(url) is not a Shoal coordinator") }
        if arguments.has("json") {
            try printOutput(status.prettySerialized)
            return
        }
        try printOutput(
            (status["ready"]?.bool == true ? "ready" : "not ready")
                + "; epoch \(text(status["epoch"])), \(text(status["experts"])) experts,"
                + " \(text(status["unownedExperts"])) with the coordinator")
        if status["protection"]?.string == "insecure" {
            try printOutput("INSECURE: messages are neither encrypted nor authenticated; see `shoal keygen --help`")
        }
        let header = ["WORKER", "STATE", "EXPERTS", "THREADS", "BATCHES", "ROWS", "FAILURES", "MS/BATCH"]
        let fields = ["name", "state", "experts", "threads", "batches", "rows", "failures", "millisecondsPerBatch"]
        let rows = workers.map { worker in fields.map { $0 == "state" ? state(of: worker) : text(worker[$0]) } }
        for row in workers.isEmpty ? [] : [header] + rows {
            let cells = row.enumerated().map { column, cell in
                let width = ([header] + rows).map { $0[column].count }.max() ?? 0
                return cell.padding(toLength: width, withPad: " ", startingAt: 0)
            }
            try printOutput(cells.joined(separator: "  "))
        }
    }

    /// Of a worker whose experts come over the network, also how far it is.
    private static func state(of worker: JSONValue) -> String {
        let state = text(worker["state"])
        guard let loaded = worker["loadedBytes"]?.integer, let wanted = worker["wantedBytes"]?.integer, loaded < wanted
        else { return state }
        return "\(state) (\(KVMemory.text(loaded)) of \(KVMemory.text(wanted)))"
    }

    private static func text(_ value: JSONValue?) -> String {
        switch value {
        case .string(let text): text
        case .number(let number):
            number.isInteger ? number.text : String(format: "%.3f", number.double ?? 0)
        default: "-"
        }
    }
}
