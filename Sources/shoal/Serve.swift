import Checkpoints
import Cluster
import Engine
import Foundation
import Frontend
import Harmony
import JSON
import Transformer

enum Serve: Command {
    static let name = "serve"
    static let summary = "Serve a model over HTTP, and coordinate workers."
    static let discussion = """
        Answers OpenAI clients at --listen and takes in workers at --bind, at any time. What no worker owns is computed
        here, so one process alone serves too. Workers on other machines need --key and --authorized here. Ctrl-C ends it in
        an orderly way.
        """
    static let flags = commonFlags + KeyFlags.coordinator

    /// Those of `shoal up` too, whose workers are on this machine.
    static let commonFlags =
        ModelOptions.flags + [
            Flag("listen", "HOST:PORT", "Where HTTP clients connect (default 127.0.0.1:8080; port 0: any)."),
            Flag("bind", "ENDPOINT", "Where workers join (default tcp://127.0.0.1:7070; port *: any)."),
            Flag(
                "replicas", "N",
                "Workers that hold each expert, as memory allows: a number, or auto (default): two, and more for hot ones."
            ),
            DispatchFlags.hedge, DispatchFlags.verifyRate,
            LocalWork.flag,
            Flag("served-model-name", "NAME", "The name clients use (default: the folder's)."),
            Flag("request-timeout", "SECONDS", "How long a request may take, waiting included (default: no limit)."),
            Flag("drain-timeout", "SECONDS", "How long accepted requests may take at shutdown (default 30)."),
        ] + EngineFlags.flags + Logging.flags

    static func run(_ arguments: Arguments) async throws {
        try await Serving(arguments).run(workers: 0)
    }
}

enum Up: Command {
    static let name = "up"
    static let summary = "Serve a model with workers on this machine, in one command."
    static let discussion = """
        The same as `shoal serve`, and --workers processes of `shoal worker` that join it. They read the same pages of the
        checkpoint, so its weights are in memory once. Ctrl-C ends all of them.
        """
    static let flags = [Flag("workers", "N", "Workers to start (default 2).")] + Serve.commonFlags

    static func run(_ arguments: Arguments) async throws {
        try await Serving(arguments).run(workers: arguments.integer("workers", in: 0...64) ?? 2)
    }
}

/// The parts of a serving process, from start to orderly end.
private struct Serving {
    private let model: ModelOptions
    private let listen: ListenAddress
    private let bind: String
    private let protection: Protection<CoordinatorKeys>
    private let modelName: String
    private let localWork: LocalWork
    /// Nil for `auto`.
    private let replicas: Int?
    private let dispatch: DispatchOptions
    private let options: EngineOptions
    private let requestTimeout: Duration?
    private let drain: Duration
    private let log: Log
    private let logFlags: [String]

    init(_ arguments: Arguments) throws {
        model = try ModelOptions(arguments)
        listen = try ListenAddress(arguments.string("listen") ?? "127.0.0.1:8080")
        bind = arguments.string("bind") ?? "tcp://127.0.0.1:7070"
        protection = try KeyFlags.coordinator(arguments)
        modelName = arguments.string("served-model-name") ?? model.directory.standardizedFileURL.lastPathComponent
        localWork = try LocalWork(arguments)
        replicas = try arguments.integer("replicas", in: 1...64, hasAuto: true)
        dispatch = try DispatchFlags.options(arguments)
        options = try EngineFlags.options(arguments, format: model.kvFormat)
        requestTimeout = try arguments.number("request-timeout", in: 0.001...1e6).map { .seconds($0) }
        drain = .seconds(try arguments.number("drain-timeout", in: 0...86400) ?? 30)
        log = try Logging.make(arguments)
        logFlags = ["log-level", "log-format"].flatMap { name in arguments.string(name).map { ["--" + name, $0] } ?? []
        }
    }

    func run(workers count: Int) async throws {
        EndRequest.watch()
        FileLimit.raise()
        let checkpoint = try model.openCheckpoint()
        let harmony = try model.openTokenizer()
        let digesting = Progress("reading the checkpoint", log: log)
        _ = try checkpoint.digest { digesting.show(Double($0) / Double(max(1, $1))) }
        var dispatch = dispatch
        dispatch.sharesWork = localWork.isShared(of: checkpoint, kvMemory: options.kvMemory, log: log)
        let coordinator = try Coordinator(
            checkpoint: checkpoint, precision: model.precision, bind: bind, protection: protection,
            localExperts: localWork == .none
                ? nil : LocalExperts(checkpoint, precision: model.precision, threads: model.threads),
            replicas: replicas, options: dispatch, log: log)
        defer { coordinator.shutdown() }
        let workers = try WorkerProcesses(
            count: count, model: model.directory, endpoint: coordinator.endpoint.description, log: log,
            logFlags: logFlags)
        defer { workers.stop() }

        let engine = try await makeEngine(checkpoint, coordinator)
        let frontend = makeFrontend(checkpoint, harmony, engine, coordinator)
        let address = try frontend.start()
        log(
            .info, "serving", [("model", modelName), ("url", "http://\(address)"), ("join", "\(coordinator.endpoint)")])
        let ready = Task { [log] in
            try await coordinator.waitUntilReady(workers: count)
            log(.info, "ready", [("workers", "\(coordinator.status.workers.count { $0.experts > 0 })")])
            try printOutput(greeting(address, coordinator))
        }
        await EndRequest.wait()
        log(.info, "ending", [("requests", "\(engine.metrics.running + engine.metrics.waiting)")])
        ready.cancel()
        // The engine first: those who come now are told at once, and those who were accepted get their answer, or at
        // the end of the time an error that says why.
        await engine.shutdown(drain: drain)
        await frontend.stop()
    }

    private func makeEngine(_ checkpoint: Checkpoint, _ coordinator: Coordinator) async throws -> Engine {
        let engine = try await Engine(options: options) { [model, log] in
            (try model.makeTransformer(checkpoint, log: log), coordinator.executor)
        }
        log(
            .info, "memory for keys and values",
            [
                ("size", KVMemory.text(engine.memory.bytes)), ("tokens", "\(engine.memory.tokens)"),
                ("context", "\(engine.contextLength)"),
            ])
        return engine
    }

    private func makeFrontend(
        _ checkpoint: Checkpoint, _ harmony: HarmonyEncoding, _ engine: Engine, _ coordinator: Coordinator
    ) -> FrontendServer {
        var configuration = FrontendConfiguration(
            listen: listen, modelName: modelName, endTokens: Set(checkpoint.config.endOfSequenceTokens))
        configuration.requestTimeout = requestTimeout
        return FrontendServer(
            configuration: configuration, engine: engine, harmony: harmony,
            readiness: {
                if engine.isShuttingDown { return .notReady(reason: "the server is shutting down") }
                return coordinator.isReady
                    ? .ready : .notReady(reason: "not every expert has a worker that is ready")
            },
            cluster: { coordinator.statusJSON }, clusterMetrics: { coordinator.status.exposition },
            accessLog: { [log] entry in
                log(
                    .info, "request",
                    [
                        ("method", entry.method), ("path", entry.path),
                        ("status", entry.status.map(String.init) ?? "none"),
                        ("milliseconds", String(Int(entry.duration / .milliseconds(1)))),
                    ] + (entry.clientLeft ? [("client", "left")] : []))
            })
    }

    /// How a worker joins: one on this machine shares the checkpoint; another gets its experts over the network.
    private func workerCommand(_ coordinator: Coordinator) -> String {
        let (endpoint, path) = (coordinator.endpoint, model.directory.path)
        let keys = coordinator.publicKey.map { " --key FILE --coordinator-key '\($0)'" }
        let isHere = endpoint.isOnThisMachine
        return "shoal worker --join \(endpoint.dialled)" + (keys ?? (isHere ? "" : " --insecure"))
            + (isHere ? " --model '\(path.replacing("'", with: "'\\''"))'" : "")
    }

    private func greeting(_ address: ListenAddress, _ coordinator: Coordinator) -> String {
        """

        \(modelName) is being served at http://\(address). Try:

          curl http://\(address)/v1/chat/completions -H 'Content-Type: application/json' \\
            -d '{"model": "\(modelName)", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}'

        Another worker:  \(workerCommand(coordinator))
        The cluster:     shoal status --url http://\(address)

        """
    }
}

extension Coordinator {
    /// The status as JSON, for `GET /cluster`.
    fileprivate var statusJSON: JSONValue {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        guard let data = try? encoder.encode(status), let json = try? JSONValue(parsing: data) else { return nil }
        return json
    }
}
