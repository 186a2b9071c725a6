import Engine
import Foundation
import JSON

enum Score: Command {
    static let name = "score"
    static let summary = "Print log-probabilities and expert choices of given tokens as JSON."
    static let discussion = """
        One entry for each token: the natural log-probability of the token that follows, the most likely next tokens, and
        the experts chosen in each layer, in descending order of router logit.
        """
    static let flags =
        ModelOptions.flags + [
            Flag("tokens", "IDS", "Token ids, separated by commas."),
            Flag("top", "K", "How many of the most likely next tokens to list (default 5)."),
            Flag("logits", "FILE", "Write every logit as little-endian float32, [tokens][vocabulary]."),
            LocalCluster.flag,
        ]

    static func run(_ arguments: Arguments) async throws {
        let model = try ModelOptions(arguments)
        let tokens = try arguments.required("tokens").split(separator: ",", omittingEmptySubsequences: false).map {
            guard let token = Int32($0.trimmingCharacters(in: .whitespaces)) else {
                throw UsageError("--tokens has '\($0)'; expected token ids separated by commas")
            }
            return token
        }
        let top = try arguments.integer("top", in: 0...1_000_000) ?? 5
        let workers = try arguments.integer("workers", in: 0...64) ?? 0
        let checkpoint = try model.openCheckpoint()
        let cluster = try await LocalCluster(model, checkpoint, workers: workers, log: .warnings)
        defer { cluster.stop() }
        let logits = try arguments.string("logits").map(openForWriting)
        let scores = try score(
            tokens, top: top, transformer: model.makeTransformer(checkpoint), experts: cluster.experts,
            kvFormat: model.kvFormat
        ) { row in try logits?.write(contentsOf: Data(buffer: row)) }
        try logits?.close()
        let answer: JSONValue = ["positions": .array(scores.map(json))]
        try printOutput(answer.serialized)
    }

    /// The file, made anew.
    private static func openForWriting(_ file: String) throws -> FileHandle {
        guard
            FileManager.default.createFile(atPath: file, contents: nil),
            let handle = FileHandle(forWritingAtPath: file)
        else { throw Failure("cannot write \(file): \(String(cString: strerror(errno)))") }
        return handle
    }

    private static func json(_ score: PositionScore) -> JSONValue {
        [
            "position": JSONValue(score.position), "token": JSONValue(score.token),
            "next_logprob": score.nextLogprob.map(number) ?? nil,
            "top": .array(score.top.map { ["id": JSONValue($0.id), "logprob": number($0.logprob)] }),
            "experts": .array(score.experts.map { .array($0.map { JSONValue($0) }) }),
        ]
    }

    /// The shortest text that reads back as the same float.
    private static func number(_ value: Float) -> JSONValue { JSONValue(Double("\(value)") ?? Double(value)) }
}
