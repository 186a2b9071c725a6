import Checkpoints
import Foundation
import Transformer

/// The engine's thread: takes what has come, runs one step, hands out its tokens, and begins again.
final class StepLoop {
    private let transformer: Transformer
    private let experts: any ExpertExecutor
    private let kernels: Kernels
    private let pool: KVPool
    private let contextLength: Int
    private let recoverySeconds: Double
    private let inbox: Inbox
    private var scheduler: Scheduler
    private var sequences: [RequestID: Sequence] = [:]
    /// Requests that end with an error unless they have ended before.
    private var deadlines: [RequestID: ContinuousClock.Instant] = [:]
    private var metrics = EngineMetrics()

    /// One sequence's part of a step, with what its rows of logits said.
    private struct Part {
        let sequence: Sequence
        let work: Scheduler.Work
        let segment: Segment
        var result: Result<ScoredToken?, EngineError> = .success(nil)

        var rows: Int {
            switch segment.logits {
            case .none: 0
            case .last: 1
            case .all: segment.tokens.count
            }
        }
    }

    init(model: Engine.Model, options: EngineOptions, memory: KVMemory, inbox: Inbox) throws {
        transformer = model.transformer
        experts = model.experts
        kernels = try selectedKernels()
        pool = try transformer.makePool(pageCount: memory.pageCount, format: options.kvFormat)
        contextLength = memory.contextLength
        recoverySeconds = options.recoverySeconds
        self.inbox = inbox
        // Rows of logits are large (0.8 MB in gpt-oss): 64 MiB of them at a time.
        let rows = max(1, (64 << 20) / (4 * transformer.config.vocabularySize))
        scheduler = Scheduler(
            limits: .init(
                sequences: options.sequences, batchTokens: options.batchTokens, promptTokens: options.promptTokens,
                scoredTokens: rows),
            geometry: memory.geometry, pageCount: memory.pageCount)
        metrics.kvPages = memory.pageCount
        publish()
    }

    /// Returns when the inbox is closed and no request is left.
    func run() {
        while let mail = inbox.take(waiting: sequences.isEmpty) {
            for submission in mail.submissions { begin(submission) }
            for (id, reason) in mail.cancellations { end(id, .success(reason)) }
            endLate(shutdown: mail.deadline)
            step()
        }
    }

    private func begin(_ submission: Submission) {
        let request = submission.request
        sequences[submission.id] = Sequence(submission, contextLength: contextLength)
        deadlines[submission.id] = request.deadline
        var entry = Scheduler.Request(id: submission.id, tokens: request.prompt)
        entry.tenant = request.tenant
        entry.priority = request.priority
        entry.cacheSalt = request.cacheSalt
        entry.isScored = request.promptLogprobs != nil
        scheduler.add(entry)
    }

    /// Ends the requests whose time is over.
    private func endLate(shutdown: ContinuousClock.Instant?) {
        guard shutdown != nil || !deadlines.isEmpty else { return }
        let now = ContinuousClock.now
        if let shutdown, shutdown <= now {
            let error = EngineError(.shuttingDown, "the server shut down before the generation was complete")
            for id in sequences.keys.sorted() { end(id, .failure(error)) }
        }
        for (id, deadline) in deadlines where deadline <= now {
            let reason = "the request was not complete within its time limit, --request-timeout"
            end(id, .failure(EngineError(.deadlineExceeded, reason)))
        }
    }

    private func step() {
        let step = scheduler.next()
        for id in step.preempted { sequences[id]?.wasPreempted() }
        var parts = step.work.compactMap { work in sequences[work.id].map { part($0, work) } }
        guard !parts.isEmpty else { return }
        do {
            let start = ContinuousClock.now
            let sampling = try transformer.forward(parts.map(\.segment), experts: experts) { logits in
                let start = ContinuousClock.now
                read(logits, &parts)
                return start.duration(to: .now)
            }
            scheduler.complete(step)
            count(parts, duration: start.duration(to: .now), sampling: sampling)
            publish()
            for part in parts {
                part.sequence.stalledSince = nil
                deliver(part)
            }
        } catch let error as ModelError {
            let error = EngineError(.internalError, "the step could not be computed: \(error)")
            for part in parts { end(part.sequence.id, .failure(error)) }
        } catch {
            stall(parts, error)
        }
    }

    /// Nothing was computed, and the scheduler will plan the same again: workers may come back. Who has waited for them
    /// too long gets the error.
    private func stall(_ parts: [Part], _ cause: any Error) {
        let now = ContinuousClock.now
        for part in parts {
            let since = part.sequence.stalledSince ?? now
            part.sequence.stalledSince = since
            guard since.duration(to: now) / .seconds(1) >= recoverySeconds else { continue }
            let error = EngineError(.expertsUnavailable, "no step could be computed for \(recoverySeconds) s: \(cause)")
            end(part.sequence.id, .failure(error))
        }
        if !sequences.isEmpty { Thread.sleep(forTimeInterval: 0.02) }
    }

    private func part(_ sequence: Sequence, _ work: Scheduler.Work) -> Part {
        sequence.begin(&metrics)
        return Part(
            sequence: sequence, work: work,
            segment: Segment(
                pool: pool, pages: work.pages, position: work.range.lowerBound,
                tokens: Array(scheduler.tokens(of: work.id, work.range)), logits: sequence.selection(work)))
    }

    /// Hands each part its rows of logits [rows, vocabularySize]. Drawing a token takes a look at all of its row, so the
    /// rows are shared out among the threads.
    private func read(_ logits: UnsafeMutableBufferPointer<Float>, _ parts: inout [Part]) {
        var ends: [Int] = []
        for part in parts { ends.append((ends.last ?? 0) + part.rows * transformer.config.vocabularySize) }
        parts.withUnsafeMutableBufferPointer { parts in
            transformer.concurrently(parts.count) { index in
                let part = parts[index]
                guard part.rows > 0 else { return }
                let own = UnsafeMutableBufferPointer(rebasing: logits[(index == 0 ? 0 : ends[index - 1])..<ends[index]])
                parts[index].result = Result { () throws(EngineError) in
                    try part.sequence.read(own, rows: part.rows, of: part.work, kernels: kernels)
                }
            }
        }
    }

    private func deliver(_ part: Part) {
        let sequence = part.sequence
        switch part.result {
        case .success(let token):
            if let token { scheduler.append(token.id, to: sequence.id) }
            let cached = scheduler.cachedTokens(of: sequence.id)
            if let reason = sequence.deliver(token, of: part.work, cached: cached, &metrics) {
                end(sequence.id, .success(reason))
            }
        case .failure(let error): end(sequence.id, .failure(error))
        }
    }

    /// Frees what a request holds, then tells its client.
    private func end(_ id: RequestID, _ result: Result<FinishReason, EngineError>) {
        guard let sequence = sequences.removeValue(forKey: id) else { return }
        deadlines[id] = nil
        scheduler.remove(id)
        let outcome: EngineMetrics.Outcome
        switch result {
        case .success(let reason): outcome = reason.outcome
        case .failure: outcome = .failed
        }
        metrics.finished[outcome, default: 0] += 1
        metrics.requestTime.record(sequence.submission.submitted.duration(to: .now))
        publish(ended: 1)
        sequence.finish(result)
    }

    private func count(_ parts: [Part], duration: Duration, sampling: Duration) {
        metrics.steps += 1
        let outputHead = transformer.outputHeadTime
        metrics.stepTime.layers += (duration - sampling - outputHead) / .seconds(1)
        metrics.stepTime.outputHead += outputHead / .seconds(1)
        metrics.stepTime.sampling += sampling / .seconds(1)
        metrics.stepSequences.record(Double(parts.count))
        let tokens = parts.reduce(0) { $0 + $1.segment.tokens.count }
        metrics.stepTokens.record(Double(tokens))
    }

    private func publish(ended: Int = 0) {
        metrics.running = scheduler.runningCount
        metrics.preempted = scheduler.preemptedCount
        metrics.kvPagesUsed = metrics.kvPages - scheduler.pool.freeCount
        metrics.kvPagesFindable = scheduler.pool.findableCount
        let statistics = scheduler.statistics
        metrics.preemptions = statistics.preemptions
        metrics.prefixCacheQueries = statistics.cacheQueries
        metrics.prefixCacheHits = statistics.cacheHits
        metrics.promptTokens = statistics.promptTokens
        metrics.recomputedTokens = statistics.recomputed
        inbox.publish(metrics, ended: ended)
    }
}
