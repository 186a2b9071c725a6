import Engine
import Foundation
import Harmony
import JSON
import Tokenization

/// Answers requests: from the body of one to the body of the other.
struct Endpoints: Sendable {
    let configuration: FrontendConfiguration
    let engine: Engine
    let harmony: HarmonyEncoding
    let readiness: @Sendable () -> Readiness
    let cluster: @Sendable () -> JSONValue
    let clusterMetrics: @Sendable () -> String
    let now: @Sendable () -> Date

    var model: ServedModel {
        ServedModel(name: configuration.modelName, vocabularySize: engine.vocabularySize)
    }

    /// Answers any request; errors become responses.
    func respond(to request: HTTPRequest) async -> HTTPResponse {
        guard let (route, name) = Route.matching(request.path) else {
            return APIError.unknownPath(request.path).response
        }
        if request.method == "OPTIONS" { return HTTPResponse(status: 204, headers: [("Allow", route.allow)]) }
        guard route.answers(request.method) else {
            return APIError.wrongMethod(request.method, path: route.rawValue, allow: route.allow).response
        }
        do {
            return try await respond(to: request, route: route, name: name)
        } catch {
            return APIError(error, promptField: route.promptField).response
        }
    }

    private func respond(to request: HTTPRequest, route: Route, name: String?) async throws -> HTTPResponse {
        switch route {
        case .chatCompletions:
            return try await chat(ChatCompletionRequest(body: request.body, model: model), from: client(of: request))
        case .completions:
            return try await complete(CompletionRequest(body: request.body, model: model), from: client(of: request))
        case .models: return try models(name)
        case .tokenize: return .json(try tokenize(TokenizeRequest(body: request.body, model: model)))
        case .detokenize:
            let tokens = try DetokenizeRequest(body: request.body, model: model).tokens
            return .json(["prompt": .string(harmony.tokenizer.decode(tokens))])
        case .health: return .json(["status": "ok"])
        case .ready:
            if case .notReady(let reason) = readiness() { throw APIError.unavailable(reason, code: "not_ready") }
            return .json(["status": "ready"])
        case .cluster: return .json(cluster())
        case .metrics:
            return HTTPResponse(
                status: 200, headers: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
                body: .bytes(Array((engine.metrics.exposition + clusterMetrics()).utf8)))
        }
    }

    private func client(of request: HTTPRequest) -> Client {
        Client(tenant: request.key, deadline: configuration.requestTimeout.map { .now + $0 })
    }

    private func models(_ name: String?) throws -> HTTPResponse {
        if let name, name != configuration.modelName {
            throw APIError.unknownModel(name, served: configuration.modelName)
        }
        let model: JSONValue = [
            "id": .string(configuration.modelName), "object": "model", "created": JSONValue(timestamp),
            "owned_by": "shoal", "max_model_len": JSONValue(engine.contextLength),
        ]
        return .json(name == nil ? ["object": "list", "data": [model]] : model)
    }

    /// Seconds since 1970.
    var timestamp: Int { Int(exactly: now().timeIntervalSince1970.rounded(.down)) ?? 0 }

    /// The day here, such as `2025-06-28`.
    var date: String { now().formatted(Date.ISO8601FormatStyle(timeZone: .current).year().month().day()) }
}

extension Route {
    /// The field that holds the prompt, for errors about it.
    fileprivate var promptField: String { self == .chatCompletions ? "messages" : "prompt" }
}
