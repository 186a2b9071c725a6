/// One request and what comes back, from sending to its end; no socket and no clock.
package struct Exchange: Sendable {
    private static let maximumErrorBody = 64 << 10

    /// What is known of it so far.
    package private(set) var sample: Sample
    /// When this side goes away by itself.
    package let cancellation: Workload.Cancellation?
    private var response = HTTPResponseParser()
    private var events = EventStreamParser()
    private var stream = CompletionStream()
    private var errorBody: [UInt8] = []
    /// Whether anything of the response has come.
    package private(set) var hasBegun = false
    /// Set when there is nothing more to wait for.
    package private(set) var hasEnded = false

    package init(_ sample: Sample, cancellation: Workload.Cancellation?) {
        self.sample = sample
        self.cancellation = cancellation
    }

    /// Whether the connection may carry the next request.
    package var leavesConnectionOpen: Bool {
        hasEnded && sample.outcome == .completed && response.isComplete && response.keepsAlive
    }

    /// The moment, if any, at which it is to be cancelled whatever has come.
    package var cancelTime: Double {
        if case .afterSeconds(let seconds) = cancellation { sample.sent + seconds } else { .infinity }
    }

    /// Takes bytes that came at `time`.
    package mutating func receive(_ bytes: some Collection<UInt8>, at time: Double) {
        hasBegun = hasBegun || !bytes.isEmpty
        do {
            let body = try response.receive(bytes)
            if let status = response.status, status != 200 {
                errorBody += body.prefix(Self.maximumErrorBody - errorBody.count)
                if response.isComplete { end(.failed(failure(status: status)), at: time) }
                return
            }
            for event in try events.receive(body) {
                try stream.take(event, at: time)
                if case .afterChunks(let count) = cancellation, stream.chunks.count >= count {
                    return end(.cancelled, at: time)
                }
            }
            // The end of the body follows [DONE] at once, and only then can the connection be used again.
            if response.isComplete { finish(at: time) }
        } catch let failure as RequestFailure {
            end(.failed(failure), at: time)
        } catch {
            end(.failed(.malformed("\(error)")), at: time)
        }
    }

    /// The server has closed the connection.
    package mutating func close(at time: Double, reason: String) {
        if response.close() {
            if let status = response.status, status != 200 { return end(.failed(failure(status: status)), at: time) }
            return finish(at: time)
        }
        if stream.isDone { return end(.completed, at: time) }
        let received = hasBegun ? "after \(stream.chunks.count) chunks with text" : "before any answer"
        end(.failed(.dropped("\(reason) \(received)")), at: time)
    }

    /// Ends it for a reason of this side's.
    package mutating func end(_ outcome: Sample.Outcome, at time: Double) {
        guard !hasEnded else { return }
        hasEnded = true
        sample.outcome = outcome
        sample.ended = time
        sample.chunks = stream.chunks
        sample.inputTokens = stream.inputTokens ?? sample.inputTokens
        sample.countedOutputTokens = stream.outputTokens
        sample.cachedTokens = stream.cachedTokens
    }

    private mutating func finish(at time: Double) {
        end(
            stream.isWhole
                ? .completed : .failed(.malformed("the stream ended without a finish reason; is it an OpenAI server?")),
            at: time)
    }

    private func failure(status: Int) -> RequestFailure {
        .status(status, CompletionStream.message(ofBody: errorBody))
    }
}
