import Engine
import Frontend
import Testing

/// What the engine is asked for, for what a client says.
@Suite("Generation fields")
struct GenerationFieldsTests {
    private static let model = ServedModel(name: "m", vocabularySize: 100)

    private func fields(_ rest: String) throws -> GenerationFields {
        let body = #"{"messages":[{"role":"user","content":"hi"}]\#(rest)}"#
        return try ChatCompletionRequest(body: Array(body.utf8), model: Self.model).generation
    }

    private func request(_ rest: String, choice: Int = 0, client: Client = Client()) throws -> GenerationRequest {
        try fields(rest).request(
            prompt: [1], choice: choice, maxTokens: 50, endTokens: [7, 8], topLogprobs: 2, client: client)
    }

    @Test("sampling parameters arrive as they were said")
    func sampling() throws {
        let sampling = try request(
            #"""
            ,"temperature":0.5,"top_p":0.25,"top_k":40,"min_p":0.125,"repetition_penalty":1.5,"frequency_penalty":-2,
            "presence_penalty":2,"logit_bias":{"0":-100,"99":100,"5":0.5},"seed":-1
            """#
        ).sampling
        var expected = SamplingParameters(temperature: 0.5, topP: 0.25, seed: .max)
        (expected.topK, expected.minP, expected.repetitionPenalty) = (40, 0.125, 1.5)
        (expected.frequencyPenalty, expected.presencePenalty) = (-2, 2)
        expected.logitBias = [0: -100, 99: 100, 5: 0.5]
        #expect(sampling == expected)
        #expect(try request("").sampling == SamplingParameters())
        #expect(try request(#","seed":5"#, choice: 3).sampling.seed == 8)
        #expect(try request(#","seed":-1"#, choice: 1).sampling.seed == 0)
    }

    @Test("limits, order and isolation arrive as they were said")
    func generation() throws {
        let deadline = ContinuousClock.now
        let asked = try request(
            #","min_tokens":3,"stop_token_ids":[4,7],"priority":-2,"cache_salt":"s","prompt_logprobs":0"#,
            client: Client(tenant: "key", deadline: deadline))
        #expect(asked.minTokens == 3 && asked.stopTokens == [4, 7, 8] && asked.priority == -2)
        #expect(asked.cacheSalt == "s" && asked.promptLogprobs == 0 && asked.topLogprobs == 2)
        #expect(asked.tenant == "key" && asked.deadline == deadline && asked.maxTokens == 50)
        let plain = try request("")
        #expect(plain.stopTokens == [7, 8] && plain.tenant.isEmpty && plain.cacheSalt.isEmpty)
        #expect(plain.promptLogprobs == nil && plain.deadline == nil && plain.minTokens == 0 && plain.priority == 0)
    }

    @Test("with ignore_eos only what was asked for ends a generation")
    func ignoresEnd() throws {
        #expect(try request(#","ignore_eos":true,"stop_token_ids":[7]"#).stopTokens == [7])
        #expect(try request(#","ignore_eos":true"#).stopTokens.isEmpty)
    }

    @Test("null is as good as absent for every field that OpenAI or vLLM knows")
    func nulls() throws {
        let names = [
            "audio", "cache_salt", "frequency_penalty", "function_call", "functions", "ignore_eos", "logit_bias",
            "logprobs", "max_completion_tokens", "max_tokens", "metadata", "min_p", "min_tokens", "modalities", "model",
            "n", "parallel_tool_calls", "prediction", "presence_penalty", "priority", "prompt_cache_key",
            "prompt_cache_retention", "prompt_logprobs", "reasoning_effort", "repetition_penalty", "response_format",
            "safety_identifier", "seed", "service_tier", "stop", "stop_token_ids", "store", "stream", "stream_options",
            "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity",
            "web_search_options",
        ]
        #expect(try request(names.map { #","\#($0)":null"# }.joined()).sampling == SamplingParameters())
        let completion = [
            "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty",
            "seed",
            "stop", "stream", "stream_options", "suffix", "temperature", "top_p", "user",
        ]
        let body = #"{"prompt":"a"\#(completion.map { #","\#($0)":null"# }.joined())}"#
        #expect(try CompletionRequest(body: Array(body.utf8), model: Self.model).generation.choices == 1)
    }

    @Test("1024 biases are taken, and not one more")
    func manyBiases() throws {
        func body(_ count: Int) -> [UInt8] {
            let biases = (0..<count).map { "\"\($0)\":1" }.joined(separator: ",")
            return Array("{\"prompt\":\"a\",\"logit_bias\":{\(biases)}}".utf8)
        }
        let model = ServedModel(name: "m", vocabularySize: 5000)
        let taken = try CompletionRequest(body: body(1024), model: model).generation.sampling.parameters
        #expect(taken.logitBias.count == 1024)
        let error = #expect(throws: APIError.self) { try CompletionRequest(body: body(1025), model: model) }
        #expect(error?.param == "logit_bias")
    }
}
