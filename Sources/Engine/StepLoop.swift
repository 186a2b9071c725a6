import Checkpoints
import Transformer

/// The engine's thread: takes what has come, runs one step, hands out its tokens, and begins again.
final class StepLoop {
    private let transformer: Transformer
    private let experts: any ExpertExecutor
    private let kernels: Kernels
    private let contextLength: Int
    private let inbox: Inbox
    private var scheduler: Scheduler
    private var sequences: [RequestID: Sequence] = [:]

    init(model: Engine.Model, options: EngineOptions, contextLength: Int, inbox: Inbox) throws {
        transformer = model.transformer
        experts = model.experts
        kernels = try selectedKernels()
        self.contextLength = contextLength
        self.inbox = inbox
        // Rows of logits are large (0.8 MB in gpt-oss): 64 MiB of them at a time.
        let rows = max(1, (64 << 20) / (4 * transformer.config.vocabularySize))
        scheduler = Scheduler(
            limits: .init(sequences: options.sequences, prefillTokens: options.prefillTokens, scoredTokens: rows))
    }

    /// Returns when the inbox is closed and no request is left.
    func run() {
        while let mail = inbox.take(waiting: sequences.isEmpty) {
            for submission in mail.submissions {
                do {
                    let sequence = Sequence(
                        submission, cache: try transformer.makeCache(), contextLength: contextLength)
                    sequences[sequence.id] = sequence
                    scheduler.add(
                        .init(
                            id: sequence.id, tokens: submission.request.prompt.count,
                            isScored: submission.request.promptLogprobs != nil))
                } catch {
                    publish(ended: 1)
                    submission.events.finish(throwing: EngineError(.internalError, "\(error)"))
                }
            }
            for id in mail.cancellations { end(id, .success(.cancelled)) }
            if let deadline = mail.deadline, deadline <= .now {
                let error = EngineError(.shuttingDown, "the server shut down before the generation was complete")
                for id in sequences.keys.sorted() { end(id, .failure(error)) }
            }
            step()
        }
    }

    private func step() {
        let step = scheduler.next()
        let work = step.decoding.map { ($0, 1) } + step.chunks.map { ($0.id, $0.tokens) }
        let batch = work.compactMap { id, tokens in sequences[id].map { ($0, $0.segment(tokens)) } }
        guard !batch.isEmpty else { return }
        do {
            let results = try transformer.forward(batch.map(\.1), experts: experts) { read($0, batch: batch) }
            publish()
            for ((sequence, _), result) in zip(batch, results) {
                switch result {
                case .success(let token):
                    if let reason = sequence.deliver(token) { end(sequence.id, .success(reason)) }
                case .failure(let error): end(sequence.id, .failure(error))
                }
            }
        } catch {
            let error = EngineError(.expertsUnavailable, "the step could not be computed: \(error)")
            for (sequence, _) in batch { end(sequence.id, .failure(error)) }
        }
    }

    /// What each segment's rows of logits [rows, vocabularySize] say.
    private func read(
        _ logits: UnsafeMutableBufferPointer<Float>, batch: [(Sequence, Segment)]
    ) -> [Result<ScoredToken?, EngineError>] {
        var rest = UnsafeBufferPointer(logits)[...]
        return batch.map { sequence, segment in
            let rows =
                switch segment.logits {
                case .none: 0
                case .last: 1
                case .all: segment.tokens.count
                }
            let own = rest.prefix(rows * transformer.config.vocabularySize)
            rest = rest.dropFirst(own.count)
            return Result { () throws(EngineError) in
                try sequence.read(UnsafeBufferPointer(rebasing: own), rows: rows, kernels: kernels)
            }
        }
    }

    /// Frees what a request holds, then tells its client.
    private func end(_ id: RequestID, _ result: Result<FinishReason, EngineError>) {
        guard let sequence = sequences.removeValue(forKey: id) else { return }
        scheduler.remove(id)
        publish(ended: 1)
        sequence.finish(result)
    }

    private func publish(ended: Int = 0) {
        inbox.publish(
            running: scheduler.runningCount, cachedTokens: sequences.values.reduce(0) { $0 + $1.computed }, ended: ended
        )
    }
}
