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
        Flag("placement", nil, "Also which experts of which layers each worker holds."),
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
        guard status["workers"]?.array != nil else { throw Failure("\(url) is not a Shoal coordinator") }
        if arguments.has("json") {
            try printOutput(status.prettySerialized)
        } else {
            let text = StatusText(status)
            try printOutput(
                (text.summary + text.workers + text.hottest + text.holdOffs
                    + (arguments.has("placement") ? text.placement : [])).joined(separator: "\n"))
        }
    }
}
