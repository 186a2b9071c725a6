import JSON

extension HTTPBodyWriter {
    /// Sends one server-sent event that carries a JSON value, which has no line breaks of its own.
    func send(_ value: JSONValue) async {
        await write("data: \(value.serialized)\n\n".utf8)
    }

    /// Sends the event that closes an OpenAI stream.
    func sendDone() async {
        await write("data: [DONE]\n\n".utf8)
    }
}

extension HTTPResponse {
    /// A stream of server-sent events (WHATWG HTML § 9.2); in a silence it carries comments, which clients skip.
    static func events(_ produce: @escaping @Sendable (HTTPBodyWriter) async -> Void) -> HTTPResponse {
        HTTPResponse(
            status: 200,
            headers: [
                ("Content-Type", "text/event-stream; charset=utf-8"),
                ("Cache-Control", "no-cache"),
                // Keeps nginx from collecting the stream before it passes it on.
                ("X-Accel-Buffering", "no"),
            ],
            body: .stream(heartbeat: Array(": keep-alive\n\n".utf8), produce))
    }

    static func json(_ value: JSONValue, status: Int = 200) -> HTTPResponse {
        HTTPResponse(
            status: status, headers: [("Content-Type", "application/json")], body: .bytes(Array(value.serialized.utf8)))
    }
}
