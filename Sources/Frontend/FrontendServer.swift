public import Engine
public import Foundation
public import Harmony
public import JSON

/// What is particular to a server.
public struct FrontendConfiguration: Sendable {
    /// Where to listen.
    public var listen: ListenAddress
    /// The name that clients know the model by.
    public var modelName: String
    /// The checkpoint's end-of-sequence ids.
    public var endTokens: Set<Int32>
    /// The largest body of a request, in bytes.
    public var maximumBodyBytes = 8 << 20
    /// How long a generation may take, waiting included, before it ends with status 504; nil: as long as it takes.
    public var requestTimeout: Duration?

    /// A server of one model.
    public init(listen: ListenAddress, modelName: String, endTokens: Set<Int32>) {
        self.listen = listen
        self.modelName = modelName
        self.endTokens = endTokens
    }
}

/// Whether requests can be served.
public enum Readiness: Sendable, Equatable {
    case ready
    case notReady(reason: String)
}

/// The OpenAI-compatible HTTP server.
public final class FrontendServer: Sendable {
    private let listen: ListenAddress
    private let http: HTTPServer

    /// - Parameters:
    ///   - readiness: Asked by `GET /ready`. Generations are taken all the same: the engine lets them wait.
    ///   - cluster: What `GET /cluster` answers.
    ///   - clusterMetrics: What `GET /metrics` answers beside the engine's, in the same format.
    ///   - now: The clock from which the model is told the date.
    ///   - accessLog: Told of each request once it is over, on the server's thread: it must not wait.
    public init(
        configuration: FrontendConfiguration, engine: Engine, harmony: HarmonyEncoding,
        readiness: @escaping @Sendable () -> Readiness = { .ready },
        cluster: @escaping @Sendable () -> JSONValue = { [:] },
        clusterMetrics: @escaping @Sendable () -> String = { "" },
        now: @escaping @Sendable () -> Date = { Date() },
        accessLog: @escaping @Sendable (AccessLogEntry) -> Void = { _ in }
    ) {
        let endpoints = Endpoints(
            configuration: configuration, engine: engine, harmony: harmony, readiness: readiness, cluster: cluster,
            clusterMetrics: clusterMetrics, now: now)
        var limits = HTTPLimits()
        limits.bodyBytes = configuration.maximumBodyBytes
        // One for every request that the engine takes, and some for those who are to be told that it takes no more.
        limits.connections = max(limits.connections, UInt32(clamping: min(engine.capacity, 1 << 20) + 128))
        listen = configuration.listen
        http = HTTPServer(limits: limits, log: accessLog) { await endpoints.respond(to: $0) }
    }

    /// Listens, and returns the address with the port that was chosen. To be called once.
    /// - Throws: ``FrontendError``.
    public func start() throws -> ListenAddress { try http.start(on: listen) }

    /// Stops listening, lets requests in flight end for as long as `grace`, cancels the others, and returns when no
    /// connection is left. Call it before the engine's shutdown.
    public func stop(grace: Duration = .seconds(5)) async { await http.stop(grace: grace) }
}
