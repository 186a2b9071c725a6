import Frontend
import JSON
import TestSupport
import Testing

/// Damages request bodies as clients, and those who would break a server, do.
struct Mutator {
    static let seeds: [String] = [
        #"{"model":"fixture","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"é🙂"}]}],"temperature":0.5,"top_p":0.9,"seed":7,"n":1,"max_tokens":2,"stop":["a","b"],"stream":false}"#,
        #"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"reasoning":"r","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"1"}],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":["string","null"],"enum":["x",1.0,null],"default":1e-7}}}}}],"tool_choice":"auto","reasoning_effort":"low","logprobs":true,"top_logprobs":3,"max_completion_tokens":1,"stream":true,"stream_options":{"include_usage":true}}"#,
        #"{"prompt":["one","two"],"echo":true,"logprobs":2,"max_tokens":0,"n":2,"temperature":0}"#,
        #"{"prompt":[[1,2,3],[4]],"max_tokens":2,"stop":"\n","seed":-9223372036854775808}"#,
        #"{"prompt":"\u00e9 <|start|>","add_special_tokens":true,"return_token_strs":true,"max_tokens":1}"#,
        #"{"prompt":"x","max_tokens":3,"min_tokens":1,"logit_bias":{"5":-100,"1999":3.5},"repetition_penalty":1.2,"frequency_penalty":0.1,"presence_penalty":-2,"top_k":5,"min_p":0.1,"ignore_eos":true,"stop_token_ids":[7],"priority":-1,"cache_salt":"s","prompt_logprobs":2}"#,
        #"{"tokens":[1,2,3,1999]}"#,
    ]
    private static let fragments = [
        "null", "true", "{}", "[]", "\"\"", "-1", "1e400", "0.1", "99999999999999999999", "\"\\ud800\"", "[[[[[[[[",
        "\"messages\":", "{\"role\":\"tool\"}", ",", ":", "\"", "\\", "\u{0}", "1.0", "-9223372036854775808",
        "\"n\":128",
    ].map { Array($0.utf8) }

    private var random: SeededGenerator

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func next() -> [UInt8] {
        var bytes = Array((Self.seeds.randomElement(using: &random) ?? "").utf8)
        let kind = Int.random(in: 0..<3, using: &random)
        if kind > 0 { replaceValue(in: &bytes, from: .random(in: 0..<bytes.count, using: &random)) }
        return kind == 1 ? bytes : bytes.mutated(with: Self.fragments, using: &random)
    }

    /// Puts something else where a value stands, so that the text often stays JSON.
    private mutating func replaceValue(in bytes: inout [UInt8], from start: Int) {
        guard let colon = bytes[start...].firstIndex(of: UInt8(ascii: ":")) else { return }
        let end = bytes[colon...].firstIndex { [UInt8(ascii: ","), UInt8(ascii: "}")].contains($0) } ?? bytes.endIndex
        bytes.replaceSubrange(bytes.index(after: colon)..<end, with: Self.fragments.randomElement(using: &random) ?? [])
    }
}

@Suite("Damaged requests", .timeLimit(.minutes(5)))
struct MutationTests {
    @Test("300,000 damaged bodies are decoded or refused")
    func decoding() {
        let model = ServedModel(name: "fixture", vocabularySize: 2000)
        var mutator = Mutator(seed: 2)
        let decoders: [([UInt8]) throws -> Void] = [
            { _ = try ChatCompletionRequest(body: $0, model: model) },
            { _ = try CompletionRequest(body: $0, model: model) },
            { _ = try TokenizeRequest(body: $0, model: model) },
            { _ = try DetokenizeRequest(body: $0, model: model) },
        ]
        var decoded = 0
        var misread = 0
        for _ in 0..<300_000 {
            let body = mutator.next()
            for decode in decoders {
                do {
                    try decode(body)
                    decoded += 1
                } catch {
                    let error = error as? APIError
                    #expect(error.map { (400..<500).contains($0.status) } == true)
                    if let code = error?.code, code != "invalid_json" { misread += 1 }
                }
            }
        }
        // Most damage leaves no JSON; enough does.
        #expect(decoded > 10_000)
        #expect(misread > 100_000)
    }

    @Test("3,000 damaged bodies are answered with well-formed JSON, and none with a failure of the server's")
    func server() async throws {
        try await FixtureServer.run { server in
            var mutator = Mutator(seed: 3)
            let paths = ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"]
            let bodies = (0..<3000).map { _ in mutator.next() }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for lane in 0..<4 {
                    group.addTask {
                        for index in stride(from: lane, to: bodies.count, by: 4) {
                            let path = paths[index % 7 % 4]
                            let reply = try await server.request("POST", path, Self.bounded(bodies[index]))
                            #expect(reply.status == 200 || (400..<500).contains(reply.status))
                            if reply.head.contains("event-stream") {
                                _ = try reply.events
                            } else {
                                #expect(reply.json.object != nil)
                                #expect(reply.status == 200 || reply.json["error"]?["message"]?.string != nil)
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    /// Keeps what would be generated short where the damage took the limit away.
    private static func bounded(_ body: [UInt8]) -> [UInt8] {
        guard var object = (try? JSONValue(parsing: body))?.object, object["tokens"] == nil else { return body }
        let name = object["messages"] == nil ? "max_tokens" : "max_completion_tokens"
        guard object["max_tokens"] == nil, object[name] == nil else { return body }
        object[name] = 2
        return Array(JSONValue.object(object).serialized.utf8)
    }
}
