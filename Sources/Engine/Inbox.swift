import Foundation
import Synchronization

/// A request on its way to the engine's thread.
struct Submission: Sendable {
    let id: RequestID
    let request: GenerationRequest
    let submitted: ContinuousClock.Instant
    let events: AsyncThrowingStream<GenerationEvent, any Error>.Continuation
    let usage: UsageBox
}

/// What reaches the engine's thread from others, and the place where it parks. Sound because every property is touched
/// under the condition's lock only.
final class Inbox: @unchecked Sendable {
    /// What has come since the last look.
    struct Mail {
        var submissions: [Submission] = []
        var cancellations: [(id: RequestID, reason: FinishReason)] = []
        /// When requests that still run are to be ended; nil until the engine is shut down.
        var deadline: ContinuousClock.Instant?

        var isEmpty: Bool { submissions.isEmpty && cancellations.isEmpty && deadline == nil }
    }

    private let condition = NSCondition()
    private let running: Int
    private let waiting: Int
    private var mail = Mail()
    private var lastID: RequestID = 0
    private var unfinished = 0
    private var refused = 0
    private var latest = EngineMetrics()

    /// How many accepted requests may run, and how many more may wait.
    init(running: Int, waiting: Int) {
        self.running = running
        self.waiting = waiting
    }

    /// What the thread published last, and what waits now.
    var metrics: EngineMetrics {
        condition.withLock {
            var metrics = latest
            metrics.waiting = unfinished - metrics.running
            metrics.refused = refused
            return metrics
        }
    }

    var isClosed: Bool { condition.withLock { mail.deadline != nil } }

    /// Accepts a request for the thread.
    /// - Throws: ``EngineError``: overloaded, or shutting down.
    func submit(_ request: GenerationRequest) throws -> Generation {
        let (stream, events) = AsyncThrowingStream.makeStream(of: GenerationEvent.self)
        let usage = UsageBox()
        let id = try condition.withLock {
            guard mail.deadline == nil else {
                throw EngineError(.shuttingDown, "the server is shutting down and takes no new requests")
            }
            guard unfinished - running < waiting else {
                refused += 1
                throw EngineError(
                    .overloaded,
                    "\(unfinished) requests are running or waiting, as many as the server takes; try again later",
                    retryAfter: .seconds(latest.requestTime.mean / Double(running)))
            }
            lastID += 1
            unfinished += 1
            mail.submissions.append(
                Submission(id: lastID, request: request, submitted: .now, events: events, usage: usage))
            condition.signal()
            return lastID
        }
        events.onTermination = { [self] reason in
            if case .cancelled = reason { cancel(id) }
        }
        return Generation(id: id, inbox: self, stream: stream, finalUsage: usage)
    }

    /// Asks for the end of a request; one that has ended is ignored.
    func cancel(_ id: RequestID, as reason: FinishReason = .cancelled) {
        condition.withLock {
            guard unfinished > 0 else { return }
            mail.cancellations.append((id, reason))
            condition.signal()
        }
    }

    /// Accepts nothing more. Requests that have not ended by the deadline are to be failed.
    func close(deadline: ContinuousClock.Instant) {
        condition.withLock {
            mail.deadline = min(deadline, mail.deadline ?? deadline)
            condition.signal()
        }
    }

    /// The thread's: what has come. With `waiting`, parks until something has; nil when nothing will come any more.
    func take(waiting: Bool) -> Mail? {
        condition.withLock {
            while waiting && mail.isEmpty { condition.wait() }
            if waiting && mail.deadline != nil && mail.submissions.isEmpty { return nil }
            defer { mail = Mail(deadline: mail.deadline) }
            return mail
        }
    }

    /// The thread's: what it has after a step, or after a request has ended.
    func publish(_ metrics: EngineMetrics, ended: Int) {
        condition.withLock {
            latest = metrics
            unfinished -= ended
        }
    }
}
