import Checkpoints
import Foundation
public import Transformer

/// Runs requests step by step on a thread of its own: each step is one forward pass over one token of every running
/// sequence and chunks of the prompts that wait. The tokens of a request with a seed do not depend on what else runs.
///
/// Keep the engine as long as its generations: where it goes away, they end with an error.
public final class Engine: Sendable {
    /// What computes: the forward pass, and the experts that it calls.
    public typealias Model = (transformer: Transformer, experts: any ExpertExecutor)

    /// The memory for keys and values.
    public let memory: KVMemory
    /// The number of tokens that prompt and completion may have together.
    public var contextLength: Int { memory.contextLength }
    /// Token ids are below this.
    public let vocabularySize: Int

    private let inbox: Inbox
    private let thread: DispatchGroup

    /// Starts the thread and returns when the model is loaded.
    /// - Parameter model: Called once, on the engine's thread, which then owns what it returns.
    /// - Throws: What `model` throws; ``EngineError`` where the options do not fit it.
    public init(
        options: EngineOptions = EngineOptions(), model: @escaping @Sendable () throws -> Model
    ) async throws {
        try options.validate()
        capacity = options.sequences + min(options.queue, Int.max - options.sequences)
        let inbox = Inbox(running: options.sequences, waiting: options.queue)
        let group = DispatchGroup()
        (memory, vocabularySize) = try await withCheckedThrowingContinuation { ready in
            group.enter()
            let thread = Thread {
                // Inside a function of its own, so that the model is gone when the thread counts as ended.
                Engine.run(options: options, inbox: inbox, model: model, ready: ready)
                group.leave()
            }
            thread.name = "shoal engine"
            thread.start()
        }
        self.inbox = inbox
        thread = group
    }

    deinit { inbox.close(deadline: .now) }

    private static func run(
        options: EngineOptions, inbox: Inbox, model: () throws -> Model,
        ready: CheckedContinuation<(KVMemory, Int), any Error>
    ) {
        let loop: StepLoop
        do {
            let model = try model()
            let transformer = model.transformer
            let memory = try KVMemory(
                options, layout: transformer.kvLayout(format: options.kvFormat),
                maxPositions: transformer.config.maxPositions,
                spare: { KVMemory.spare(mapped: transformer.mappedBytes) })
            loop = try StepLoop(model: model, options: options, memory: memory, inbox: inbox)
            ready.resume(returning: (memory, transformer.config.vocabularySize))
        } catch {
            ready.resume(throwing: error)
            return
        }
        loop.run()
    }

    /// What the engine is doing, and has done.
    public var metrics: EngineMetrics { inbox.metrics }

    /// Requests that may run and wait together.
    public let capacity: Int

    /// Whether new requests are refused because the engine is ending.
    public var isShuttingDown: Bool { inbox.isClosed }

    /// Accepts a request, or says at once why it cannot run.
    /// - Throws: ``EngineError``.
    public func submit(_ request: GenerationRequest) throws -> Generation {
        try request.validate(contextLength: contextLength, vocabularySize: vocabularySize)
        return try inbox.submit(request)
    }

    /// Refuses new requests, lets those that were accepted run on for at most `drain`, ends the rest with an error, and
    /// returns when the thread has ended.
    public func shutdown(drain: Duration = .zero) async {
        inbox.close(deadline: .now + drain)
        await withCheckedContinuation { continuation in
            thread.notify(queue: .global()) { continuation.resume() }
        }
    }
}
