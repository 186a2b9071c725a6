/// What the server answers to.
enum Route: String, CaseIterable {
    case chatCompletions = "/v1/chat/completions"
    case completions = "/v1/completions"
    case models = "/v1/models"
    case tokenize = "/tokenize"
    case detokenize = "/detokenize"
    case health = "/health"
    case ready = "/ready"
    case cluster = "/cluster"
    case metrics = "/metrics"

    var method: String {
        switch self {
        case .chatCompletions, .completions, .tokenize, .detokenize: "POST"
        case .models, .health, .ready, .cluster, .metrics: "GET"
        }
    }

    /// Whether the method is answered; HEAD is GET without the body.
    func answers(_ method: String) -> Bool {
        method == self.method || method == "HEAD" && self.method == "GET"
    }

    /// The value of the `Allow` header.
    var allow: String { method == "GET" ? "GET, HEAD, OPTIONS" : "\(method), OPTIONS" }

    /// All routes, for a message.
    static let listing = allCases.map { "\($0.method) \($0.rawValue)" }.joined(separator: ", ")

    /// The route of a path, and for `/v1/models/NAME` the name.
    static func matching(_ path: String) -> (route: Route, model: String?)? {
        if let route = Route(rawValue: path) { return (route, nil) }
        let prefix = models.rawValue + "/"
        guard path.hasPrefix(prefix), path.utf8.count > prefix.utf8.count else { return nil }
        return (.models, String(path.dropFirst(prefix.count)))
    }
}
