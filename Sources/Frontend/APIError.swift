import Engine
package import JSON

/// A request that is not answered as asked, in the shape that OpenAI's clients expect.
package struct APIError: Error, Sendable, Equatable {
    package var status: Int
    package var type: String
    package var code: String?
    /// The field at fault, such as `messages[2].content[0].type`.
    package var param: String?
    package var message: String
    /// Seconds after which to try again.
    package var retryAfter: Int?
    /// The methods that the path answers to.
    package var allow: String?

    /// The body: `{"error": {…}}`.
    package var json: JSONValue {
        [
            "error": [
                "message": .string(message), "type": .string(type),
                "param": param.map { .string($0) } ?? .null, "code": code.map { .string($0) } ?? .null,
            ]
        ]
    }

    package var response: HTTPResponse {
        var response = HTTPResponse.json(json, status: status)
        if let retryAfter { response.headers.append(("Retry-After", String(retryAfter))) }
        if let allow { response.headers.append(("Allow", allow)) }
        return response
    }
}

extension APIError {
    /// 400: the request cannot be understood, or cannot be done as asked.
    static func invalid(_ message: String, param: String? = nil, code: String? = nil) -> APIError {
        APIError(status: 400, type: "invalid_request_error", code: code, param: param, message: message)
    }

    static func unknownModel(_ name: String, served: String) -> APIError {
        APIError(
            status: 404, type: "invalid_request_error", code: "model_not_found", param: "model",
            message: "The model '\(name.prefix(200))' does not exist; this server serves '\(served)'.")
    }

    static func unknownPath(_ path: String) -> APIError {
        APIError(
            status: 404, type: "invalid_request_error", code: "unknown_url",
            message: "Unknown path '\(path.prefix(200))'; this server answers \(Route.listing).")
    }

    static func wrongMethod(_ method: String, path: String, allow: String) -> APIError {
        APIError(
            status: 405, type: "invalid_request_error", code: "method_not_allowed",
            message: "\(path) does not answer \(method.prefix(40)); use \(allow).", allow: allow)
    }

    static func bodyTooLarge(limit: Int) -> APIError {
        APIError(
            status: 413, type: "invalid_request_error", code: "request_too_large",
            message: "The request's body is larger than \(limit) bytes.")
    }

    static let shuttingDown = unavailable("The server is shutting down.", code: "shutting_down")

    /// 503: try again later.
    static func unavailable(_ message: String, code: String) -> APIError {
        APIError(status: 503, type: "server_error", code: code, message: message, retryAfter: 5)
    }

    /// The client has gone; nobody reads this.
    static let cancelled = APIError(
        status: 499, type: "invalid_request_error", code: "cancelled", message: "The request was cancelled.")

    /// What a client is told about a failure below.
    init(_ error: any Error, promptField: String) {
        switch error {
        case let error as APIError: self = error
        case let error as EngineError: self = APIError(error, promptField: promptField)
        case is CancellationError: self = .cancelled
        default: self = APIError(status: 500, type: "server_error", message: "\(error)")
        }
    }

    private init(_ error: EngineError, promptField: String) {
        self =
            switch error.kind {
            case .promptTooLong:
                .invalid(error.description, param: promptField, code: "context_length_exceeded")
            case .invalidRequest: .invalid(error.description, param: promptField)
            case .shuttingDown: .shuttingDown
            case .expertsUnavailable: .unavailable(error.description, code: "experts_unavailable")
            case .overloaded:
                APIError(
                    status: 429, type: "rate_limit_error", code: "overloaded", message: error.description,
                    retryAfter: Int(min(60, max(1, ((error.retryAfter ?? .zero) / .seconds(1)).rounded(.up))))
                )
            case .deadlineExceeded:
                APIError(status: 504, type: "server_error", code: "timeout", message: error.description)
            case .internalError: APIError(status: 500, type: "server_error", message: error.description)
            }
    }
}
