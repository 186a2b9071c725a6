import Frontend
import Testing

private let model = ServedModel(name: "m", vocabularySize: 100)

private func failure(_ body: String, _ decode: ([UInt8]) throws -> Void) -> APIError? {
    do {
        try decode(Array(body.utf8))
        return nil
    } catch {
        return error as? APIError
    }
}

private func chat(_ rest: String) -> String { #"{"messages":[{"role":"user","content":"hi"}]\#(rest)}"# }

@Suite("Chat requests")
struct ChatDecodingTests {
    private func error(_ body: String) -> APIError? {
        failure(body) { _ = try ChatCompletionRequest(body: $0, model: model) }
    }

    @Test(
        "what OpenAI's clients send is taken",
        arguments: [
            "", #","model":"m","temperature":0,"top_p":1.0,"seed":-5,"n":2,"stop":"x","stream":true"#,
            #","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#,
            #","stop":["a","b"],"max_tokens":5,"max_completion_tokens":5,"logprobs":true,"top_logprobs":20"#,
            #","user":"u","metadata":{"a":"b"},"store":false,"service_tier":"auto","parallel_tool_calls":true"#,
            #","response_format":{"type":"text"},"logit_bias":{},"presence_penalty":0.0,"frequency_penalty":0"#,
            #","temperature":null,"tools":null,"stop":null,"modalities":["text"],"reasoning_effort":"high""#,
            #","tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{}}}],"tool_choice":"auto""#,
        ])
    func taken(rest: String) {
        #expect(error(chat(rest)) == nil)
    }

    @Test(
        "what is malformed or unknown is named",
        arguments: [
            (#","temperature":2.5"#, "temperature"), (#","temperature":"hot""#, "temperature"),
            (#","temperature":1e999"#, "temperature"), (#","top_p":-0.1"#, "top_p"), (#","n":0"#, "n"),
            (#","n":1.5"#, "n"), (#","n":99999999999999999999"#, "n"), (#","seed":1.0"#, "seed"),
            (#","max_tokens":0"#, "max_tokens"),
            (#","max_tokens":5,"max_completion_tokens":6"#, "max_completion_tokens"),
            (#","stop":["a",3]"#, "stop[1]"), (#","stop":"""#, "stop"), (#","top_logprobs":3"#, "top_logprobs"),
            (#","logprobs":true,"top_logprobs":21"#, "top_logprobs"), (#","logprobs":3"#, "logprobs"),
            (#","stream_options":{}"#, "stream_options"),
            (#","stream":true,"stream_options":{"x":1}"#, "stream_options.x"),
            (#","reasoning_effort":"extreme""#, "reasoning_effort"), (#","tool_choice":"required""#, "tool_choice"),
            (#","tool_choice":{"type":"function","function":{"name":"f"}}"#, "tool_choice"),
            (#","tools":[{"type":"browser"}]"#, "tools[0].type"),
            (#","tools":[{"type":"function"}]"#, "tools[0].function"),
            (#","tools":[{"type":"function","function":{"name":"a b"}}]"#, "tools[0].function.name"),
            (#","tools":[{"type":"function","function":{"name":"f","parameters":3}}]"#, "tools[0].function.parameters"),
            (#","response_format":{"type":"json_schema"}"#, "response_format"),
            (#","logit_bias":{"5":101}"#, "logit_bias.5"), (#","logit_bias":{"100":1}"#, "logit_bias.100"),
            (#","logit_bias":{"05":1}"#, "logit_bias.05"), (#","logit_bias":{"a":1}"#, "logit_bias.a"),
            (#","logit_bias":{"5":"x"}"#, "logit_bias.5"), (#","logit_bias":[]"#, "logit_bias"),
            (#","presence_penalty":2.5"#, "presence_penalty"), (#","frequency_penalty":-3"#, "frequency_penalty"),
            (#","repetition_penalty":0"#, "repetition_penalty"), (#","top_k":-2"#, "top_k"), (#","min_p":2"#, "min_p"),
            (#","top_k":1.5"#, "top_k"), (#","min_tokens":-1"#, "min_tokens"),
            (#","min_tokens":6,"max_tokens":5"#, "min_tokens"),
            (#","min_tokens":6,"max_completion_tokens":5"#, "min_tokens"), (#","ignore_eos":1"#, "ignore_eos"),
            (#","stop_token_ids":[1,100]"#, "stop_token_ids[1]"), (#","stop_token_ids":5"#, "stop_token_ids"),
            (#","priority":"high""#, "priority"), (#","cache_salt":"""#, "cache_salt"),
            (#","prompt_logprobs":21"#, "prompt_logprobs"), (#","prompt_logprobs":true"#, "prompt_logprobs"),
            (#","prompt_logprobs":1,"stream":true"#, "prompt_logprobs"), (#","functions":[]"#, "functions"),
            (#","tempurature":1"#, "tempurature"), (#","messages[0]":1"#, "messages[0]"), (#","model":"x""#, "model"),
        ])
    func named(rest: String, param: String) {
        #expect(error(chat(rest))?.param == param)
    }

    @Test(
        "what is wrong with a message is named",
        arguments: [
            (#"{}"#, "messages"), (#"{"messages":[]}"#, "messages"), (#"{"messages":{}}"#, "messages"),
            (#"{"messages":[3]}"#, "messages[0]"), (#"{"messages":[{"content":"x"}]}"#, "messages[0].role"),
            (#"{"messages":[{"role":"king","content":"x"}]}"#, "messages[0].role"),
            (#"{"messages":[{"role":"user"}]}"#, "messages[0].content"),
            (#"{"messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
            (#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#, "messages[0].content[0].type"),
            (#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0].text"),
            (#"{"messages":[{"role":"user","content":"x","colour":1}]}"#, "messages[0].colour"),
            (#"{"messages":[{"role":"assistant"}]}"#, "messages[0].content"),
            (#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
            (
                #"{"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f"}}]}]}"#,
                "messages[0].tool_calls[0].function.arguments"
            ),
        ])
    func messages(body: String, param: String) {
        #expect(error(body)?.param == param)
    }

    @Test("a reply that OpenAI's client echoes is taken")
    func echoed() {
        let reply = #"""
            {"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
            {"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,"function_call":null,
            "reasoning":"r","reasoning_content":"r",
            "tool_calls":[{"id":"c","type":"function","index":0,"function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":"42"}]}
            """#
        #expect(error(reply) == nil)
    }

    @Test("a near miss suggests the right name")
    func suggestion() {
        #expect(error(chat(#","tempurature":1"#))?.message.contains("'temperature'") == true)
        #expect(error(chat(#","zzzzzzzzzz":1"#))?.message.contains("mean") == false)
    }

    @Test("an unknown model is OpenAI's 404")
    func unknownModel() {
        let error = error(chat(#","model":"gpt-9""#))
        #expect(error?.status == 404)
        #expect(error?.code == "model_not_found")
    }

    @Test("what is not a JSON object is refused", arguments: ["", "[]", "{", "null", "{\"a\":1}}", "\u{0}"])
    func notJSON(body: String) {
        #expect(error(body)?.code == "invalid_json")
    }
}

@Suite("Completion requests")
struct CompletionDecodingTests {
    private func error(_ body: String) -> APIError? {
        failure(body) { _ = try CompletionRequest(body: $0, model: model) }
    }

    @Test("a prompt has four forms")
    func prompts() throws {
        func prompts(_ json: String) throws -> [CompletionRequest.Prompt] {
            try CompletionRequest(body: Array("{\"prompt\":\(json)}".utf8), model: model).prompts
        }
        #expect(try prompts(#""a""#) == [.text("a")])
        #expect(try prompts(#"["a","b"]"#) == [.text("a"), .text("b")])
        #expect(try prompts("[1,99]") == [.tokens([1, 99])])
        #expect(try prompts("[[1],[2,3]]") == [.tokens([1]), .tokens([2, 3])])
    }

    @Test(
        "what is malformed is named",
        arguments: [
            (#"{}"#, "prompt"), (#"{"prompt":[]}"#, "prompt"), (#"{"prompt":[1,"a"]}"#, "prompt[1]"),
            (#"{"prompt":["a",[1]]}"#, "prompt[1]"), (#"{"prompt":[[1],[100]]}"#, "prompt[1][0]"),
            (#"{"prompt":[-1]}"#, "prompt[0]"), (#"{"prompt":"a","max_tokens":0}"#, "max_tokens"),
            (#"{"prompt":"a","logprobs":21}"#, "logprobs"), (#"{"prompt":"a","best_of":2}"#, "best_of"),
            (#"{"prompt":"a","suffix":"b"}"#, "suffix"), (#"{"prompt":"a","min_tokens":17}"#, "min_tokens"),
            (#"{"prompt":["a","b"],"n":128}"#, "prompt"),
        ])
    func named(body: String, param: String) {
        #expect(error(body)?.param == param)
    }

    @Test("evaluation harnesses may score a prompt without generating")
    func scoring() {
        #expect(
            error(#"{"model":"m","prompt":"a","max_tokens":0,"echo":true,"logprobs":1,"temperature":0,"seed":1234}"#)
                == nil)
        #expect(error(#"{"prompt":"a","n":2,"best_of":2}"#) == nil)
    }
}
