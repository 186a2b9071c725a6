package import JSON

/// What all requests of a run say alike.
public struct RequestTemplate: Sendable, Equatable {
    /// Which of OpenAI's endpoints is measured.
    public enum Endpoint: String, Sendable, CaseIterable {
        /// `POST /v1/completions`, with prompts of token ids.
        case completions
        /// `POST /v1/chat/completions`, with one user's message of random words.
        case chat
    }

    /// Which endpoint.
    public var endpoint: Endpoint
    /// The name under which the server knows the model.
    public var model: String
    /// 0 always takes the most likely token.
    public var temperature = 0.0
    /// The `seed` of the first request, the next one's is one more; nil sends none.
    public var requestSeed: Int?
    /// Whether to send `ignore_eos`, an extension that not every server knows.
    public var ignoresEndOfSequence = false

    /// The defaults.
    public init(endpoint: Endpoint, model: String) {
        self.endpoint = endpoint
        self.model = model
    }

    /// The path under the server's address.
    package var path: String { endpoint == .chat ? "/v1/chat/completions" : "/v1/completions" }

    /// The body of request `index`.
    package func body(_ request: Workload.Request, index: Int) -> JSONValue {
        var body = JSONObject()
        body["model"] = .string(model)
        switch endpoint {
        case .completions: body["prompt"] = .array(request.prompt.map { JSONValue($0) })
        case .chat: body["messages"] = [["role": "user", "content": .string(Self.text(request.prompt))]]
        }
        body["max_tokens"] = JSONValue(request.outputTokens)
        body["temperature"] = JSONValue(temperature)
        if let requestSeed { body["seed"] = JSONValue(requestSeed &+ index) }
        if ignoresEndOfSequence { body["ignore_eos"] = true }
        body["stream"] = true
        body["stream_options"] = ["include_usage": true]
        return .object(body)
    }

    /// A word for each token id. Common words are one token to most tokenizers.
    private static func text(_ tokens: [Int]) -> String {
        tokens.map { words[$0 % words.count] }.joined(separator: " ")
    }

    private static let words = """
        time year people way day man thing woman life child world school state family student group country problem hand
        part place case week company system program question work government number night point home water room mother
        area money story fact month lot right study book eye job word business issue side kind head house service friend
        father power hour game line end member law car city community name president team minute idea body information
        back parent face others level office door health person art war history party result change morning reason
        research girl guy moment air teacher force education
        """.split(whereSeparator: \.isWhitespace)
}
