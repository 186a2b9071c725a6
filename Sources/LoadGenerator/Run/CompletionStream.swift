import JSON

/// Follows the events of one streamed completion or chat completion.
package struct CompletionStream: Sendable {
    /// When each chunk with text came.
    package private(set) var chunks: [Double] = []
    package private(set) var inputTokens: Int?
    package private(set) var outputTokens: Int?
    package private(set) var cachedTokens: Int?
    /// Whether `[DONE]` has come.
    package private(set) var isDone = false
    private var isFinished = false

    package init() {}

    /// Whether the stream may end here: after `[DONE]`, or after the choice's finish reason.
    package var isWhole: Bool { isDone || isFinished }

    /// Takes the data of one event that came at `time`.
    /// - Throws: ``RequestFailure``.
    package mutating func take(_ data: [UInt8], at time: Double) throws(RequestFailure) {
        if data.elementsEqual("[DONE]".utf8) {
            isDone = true
            return
        }
        guard let event = try? JSONValue(parsing: data), let members = event.object else {
            let found = String(decoding: data.prefix(80), as: UTF8.self)
            throw .malformed("an event's data is '\(found)'; expected a JSON object or [DONE]")
        }
        if let error = members["error"], !error.isNull { throw .event(Self.message(of: error)) }
        guard let choices = members["choices"]?.array else { throw .malformed("an event has no 'choices'") }
        for choice in choices {
            if Self.hasText(choice) { chunks.append(time) }
            if let reason = choice["finish_reason"], !reason.isNull { isFinished = true }
        }
        if let usage = members["usage"], usage.object != nil {
            inputTokens = usage["prompt_tokens"]?.integer
            outputTokens = usage["completion_tokens"]?.integer
            cachedTokens = usage["prompt_tokens_details"]?["cached_tokens"]?.integer
        }
    }

    private static func hasText(_ choice: JSONValue) -> Bool {
        func isText(_ value: JSONValue?) -> Bool { value?.string?.isEmpty == false }
        if isText(choice["text"]) { return true }
        guard let delta = choice["delta"] else { return false }
        return isText(delta["content"]) || isText(delta["reasoning"]) || isText(delta["reasoning_content"])
            || delta["tool_calls"]?.array?.isEmpty == false
    }

    /// The message of an OpenAI error: `{"message": …}`, or what else stands in its place.
    private static func message(of error: JSONValue) -> String {
        String((error["message"]?.string ?? error.string ?? error.serialized).prefix(300))
    }

    /// The message of a response that is no success.
    package static func message(ofBody body: [UInt8]) -> String {
        if let json = try? JSONValue(parsing: body) { return message(of: json["error"] ?? json) }
        return String(String(decoding: body.prefix(200), as: UTF8.self).split(whereSeparator: \.isNewline).first ?? "")
    }
}
