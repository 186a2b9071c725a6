/// A request whose body has been received in full.
package struct HTTPRequest: Sendable {
    package var method: String
    /// The path without the query, percent-decoded.
    package var path: String
    /// The API key that came with it, which is not checked; empty where there was none.
    package var key: String
    package var body: [UInt8]

    package init(method: String, path: String, key: String = "", body: [UInt8] = []) {
        self.method = method
        self.path = path
        self.key = key
        self.body = body
    }
}

/// What is answered. Content-Length, Date and Connection are the server's business.
package struct HTTPResponse: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        /// Written while it comes into being; it ends when the closure returns. The closure's task is cancelled when the
        /// client goes away. In a silence of a few seconds the server writes `heartbeat`.
        case stream(heartbeat: [UInt8], @Sendable (HTTPBodyWriter) async -> Void)
    }

    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: Body

    package init(status: Int, headers: [(name: String, value: String)] = [], body: Body = .bytes([])) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// Answers a request. Its task is cancelled when the client goes away.
package typealias HTTPHandler = @Sendable (HTTPRequest) async -> HTTPResponse

/// Takes the chunks of a streamed body.
package struct HTTPBodyWriter: Sendable {
    let exchange: HTTPExchange

    /// Sends a chunk, all of it together; returns when the client has kept up. Chunks for a client that has gone are
    /// dropped.
    package func write(_ chunk: some Sequence<UInt8>) async {
        await exchange.write(chunk)
    }
}

/// One line of the access log.
public struct AccessLogEntry: Sendable {
    /// The request's method, such as "POST".
    public let method: String
    /// The request's path without its query.
    public let path: String
    /// The response's status; nil where the client left before there was one.
    public let status: Int?
    /// From the request's headers to the end of its response.
    public let duration: Duration
    /// Whether the client closed the connection before it had the whole response.
    public let clientLeft: Bool
}
