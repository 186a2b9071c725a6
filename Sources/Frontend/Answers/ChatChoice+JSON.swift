import Engine
import Harmony
package import JSON

extension ChatChoice {
    package static func chunk(_ delta: Delta) -> JSONObject {
        var parts = JSONObject()
        if !delta.reasoning.isEmpty { parts.set(reasoning: delta.reasoning) }
        if !delta.content.isEmpty { parts["content"] = .string(delta.content) }
        if !delta.toolCalls.isEmpty { parts["tool_calls"] = .array(delta.toolCalls.map(\.chunk)) }
        return choice("delta", parts, delta)
    }

    package static func whole(_ delta: Delta) -> JSONObject {
        var parts = JSONObject([
            .init(name: "role", value: "assistant"),
            .init(
                name: "content",
                value: delta.content.isEmpty && !delta.toolCalls.isEmpty ? .null : .string(delta.content)),
            .init(name: "refusal", value: .null),
        ])
        if !delta.reasoning.isEmpty { parts.set(reasoning: delta.reasoning) }
        if !delta.toolCalls.isEmpty { parts["tool_calls"] = .array(delta.toolCalls.map(\.whole)) }
        return choice("message", parts, delta)
    }

    private static func choice(_ name: String, _ parts: JSONObject, _ delta: Delta) -> JSONObject {
        JSONObject([
            .init(name: name, value: .object(parts)),
            .init(name: "logprobs", value: delta.logprobs.map { ["content": .array($0), "refusal": nil] } ?? .null),
        ])
    }
}

extension JSONObject {
    /// Reasoning has two names: `reasoning` (OpenRouter, vLLM) and `reasoning_content` (DeepSeek and others).
    fileprivate mutating func set(reasoning: String) {
        self["reasoning"] = .string(reasoning)
        self["reasoning_content"] = .string(reasoning)
    }
}

extension ChatChoice.ToolCallDelta {
    fileprivate var chunk: JSONValue {
        guard beginning == nil else {
            return .object(JSONObject([.init(name: "index", value: JSONValue(index))] + call.members))
        }
        return ["index": JSONValue(index), "function": ["arguments": .string(arguments)]]
    }

    fileprivate var whole: JSONValue { .object(call) }

    private var call: JSONObject {
        JSONObject([
            .init(name: "id", value: .string(beginning?.id ?? "")), .init(name: "type", value: "function"),
            .init(
                name: "function",
                value: ["name": .string(beginning?.name ?? ""), "arguments": .string(arguments)]),
        ])
    }
}

/// The `logprobs` of `/v1/chat/completions`.
enum ChatLogprobs {
    /// The entry of one token.
    static func entry(_ token: ScoredToken, _ harmony: HarmonyEncoding) -> JSONValue {
        var entry = self.token(token.id, logprob: token.logprob ?? -.infinity, harmony)
        entry["top_logprobs"] = .array(
            token.top.map { .object(self.token($0.id, logprob: $0.logprob, harmony)) })
        return .object(entry)
    }

    private static func token(_ id: Int32, logprob: Float, _ harmony: HarmonyEncoding) -> JSONObject {
        let bytes = harmony.bytes(of: id) ?? []
        return JSONObject([
            .init(name: "token", value: .string(String(decoding: bytes, as: UTF8.self))),
            .init(name: "logprob", value: TokenText.json(logprob: logprob)),
            .init(name: "bytes", value: .array(bytes.map { JSONValue($0) })),
        ])
    }
}
