import JSON
import LoadGenerator

/// What `shoal bench` was asked to do, as far as the server itself does not decide it.
struct BenchSettings: Sendable {
    let server: ServerAddress
    let apiKey: String?
    let template: RequestTemplate
    let workload: Workload
    let loads: [Load]
    let warmUp: Int

    /// - Throws: ``UsageError``, and ``LoadError`` where the server cannot be asked for what was not given.
    init(_ arguments: Arguments) throws {
        loads = try Self.loads(arguments)
        warmUp = try arguments.integer("warm-up", in: 0...1_000_000) ?? 0
        var workload = try Self.workload(arguments)
        let temperature = try arguments.number("temperature", in: 0...2) ?? 0
        let requestSeed = try arguments.integer("request-seed", in: 0...Int.max)
        let endpoint = try arguments.choice("endpoint", default: RequestTemplate.Endpoint.completions)
        apiKey = arguments.string("api-key")
        server = try ServerAddress(arguments.string("url") ?? "http://127.0.0.1:8080")

        let probe = ServerProbe(server, apiKey: apiKey)
        var template = RequestTemplate(endpoint: endpoint, model: try arguments.string("model") ?? probe.firstModel())
        template.temperature = temperature
        template.requestSeed = requestSeed
        template.ignoresEndOfSequence = arguments.has("ignore-eos")
        self.template = template
        if endpoint == .completions, !arguments.has("token-range") {
            workload.tokenRange = probe.ordinaryTokens(model: template.model) ?? workload.tokenRange
        }
        self.workload = workload
    }

    private static func loads(_ arguments: Arguments) throws -> [Load] {
        guard !arguments.has("rate") || !arguments.has("concurrency") else {
            throw UsageError("--rate and --concurrency exclude each other")
        }
        guard !arguments.has("requests") || !arguments.has("duration") else {
            throw UsageError("--requests and --duration exclude each other")
        }
        let timeout = try arguments.number("timeout", in: 0.001...86400) ?? 600
        let atMost = try arguments.integer("max-concurrency", in: 1...10_000) ?? 1024
        let arrivals: [Load.Arrivals] =
            arguments.has("rate")
            ? try list(arguments, "rate", "numbers above 0") { Double($0).flatMap { $0 > 0 && $0 <= 1e6 ? $0 : nil } }
                .map { .rate($0, atMost: atMost) }
            : try list(arguments, "concurrency", "whole numbers, 1 to 10000") {
                Int($0).flatMap { (1...10_000).contains($0) ? $0 : nil }
            }.map { .concurrency($0) }
        if let seconds = try arguments.number("duration", in: 0.001...1e6) {
            return arrivals.map { Load(arrivals: $0, extent: .seconds(seconds), timeout: timeout) }
        }
        let counts = try list(arguments, "requests", "whole numbers above 0") { Int($0).flatMap { $0 > 0 ? $0 : nil } }
        guard counts.count <= 1 || counts.count == arrivals.count else {
            throw UsageError(
                "--requests has \(counts.count) numbers for \(arrivals.count) levels; give one, or each its")
        }
        return arrivals.enumerated().map { index, arrivals in
            let count = counts.count > 1 ? counts[index] : counts.first ?? 32
            return Load(arrivals: arrivals, extent: .requests(count), timeout: timeout)
        }
    }

    /// A comma list; for the concurrency, 1 where there is none.
    private static func list<Value>(
        _ arguments: Arguments, _ name: String, _ expected: String, _ read: (Substring) -> Value?
    ) throws(UsageError) -> [Value] {
        guard let text = arguments.string(name) ?? (name == "concurrency" ? "1" : nil) else { return [] }
        return try text.split(separator: ",", omittingEmptySubsequences: false).map { (part) throws(UsageError) in
            guard let value = read(part) else {
                throw UsageError("--\(name) is '\(text)'; expected \(expected), with commas between")
            }
            return value
        }
    }

    private static func workload(_ arguments: Arguments) throws -> Workload {
        let seed = try arguments.integer("seed", in: 0...Int.max) ?? Int.random(in: 0..<1 << 32)
        var workload = Workload(seed: UInt64(seed))
        if let text = arguments.string("input-tokens") { workload.inputTokens = try lengths("input-tokens", text) }
        if let text = arguments.string("output-tokens") { workload.outputTokens = try lengths("output-tokens", text) }
        if let text = arguments.string("token-range") {
            guard let range = ClosedRange(parsing: text), range.lowerBound >= 0 else {
                throw UsageError("--token-range is '\(text)'; expected two token ids such as 1000-100000")
            }
            workload.tokenRange = range
        }
        if let text = arguments.string("shared-prefix") { workload.sharedPrefix = try sharedPrefix(text) }
        workload.prefixes = try arguments.integer("prefixes", in: 1...1_000_000) ?? 1
        workload.cancelledShare = try arguments.number("cancel", in: 0...1) ?? 0
        return workload
    }

    private static func lengths(_ name: String, _ text: String) throws(UsageError) -> LengthDistribution {
        do { return try LengthDistribution(text) } catch { throw UsageError("--\(name): \(error)") }
    }

    /// With a point it is a share of the prompt, otherwise tokens.
    private static func sharedPrefix(_ text: String) throws(UsageError) -> Workload.SharedPrefix {
        if let count = Int(text), count >= 0 { return .tokens(count) }
        guard let share = Double(text), (0...1).contains(share) else {
            throw UsageError("--shared-prefix is '\(text)'; expected a share such as 0.5, or tokens such as 2000")
        }
        return .fraction(share)
    }
}

extension BenchSettings {
    /// Everything that is needed to run it again; the key is not in it.
    var json: JSONObject {
        var json = JSONObject()
        json["url"] = .string(server.url)
        json["model"] = .string(template.model)
        json["endpoint"] = .string(template.endpoint.rawValue)
        json["input_tokens"] = .string("\(workload.inputTokens)")
        json["output_tokens"] = .string("\(workload.outputTokens)")
        json["token_range"] = .string("\(workload.tokenRange.lowerBound)-\(workload.tokenRange.upperBound)")
        switch workload.sharedPrefix {
        case .fraction(let share): json["shared_prefix"] = .string("\(share)")
        case .tokens(let count): json["shared_prefix"] = .string("\(count)")
        }
        json["prefixes"] = JSONValue(workload.prefixes)
        json["cancel"] = JSONValue(workload.cancelledShare)
        json["seed"] = JSONValue(workload.seed)
        json["temperature"] = JSONValue(template.temperature)
        json["request_seed"] = template.requestSeed.map { JSONValue($0) } ?? .null
        json["ignore_eos"] = .bool(template.ignoresEndOfSequence)
        json["warm_up"] = JSONValue(warmUp)
        json["timeout"] = loads.first.map { JSONValue($0.timeout) } ?? .null
        json["loads"] = .array(loads.map { .string("\($0)") })
        return json
    }
}
