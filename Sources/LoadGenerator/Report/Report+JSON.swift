public import JSON

extension Report {
    /// Everything: settings, summaries, and each request with the moments of its chunks. Times are in seconds.
    public var json: JSONValue {
        ["settings": .object(settings), "levels": .array(levels.map(\.json))]
    }
}

extension LevelReport {
    fileprivate var json: JSONValue {
        var object = JSONObject()
        switch load.arrivals {
        case .concurrency(let count): object["concurrency"] = JSONValue(count)
        case .rate(let rate, let atMost):
            object["rate"] = JSONValue(rate)
            object["max_concurrency"] = JSONValue(atMost)
        }
        object["seconds"] = .seconds(seconds)
        object["requests"] = [
            "completed": JSONValue(completed.count), "cancelled": JSONValue(cancelledCount),
            "failed": JSONValue(failedCount),
        ]
        object["failures"] = .array(
            failures.map {
                ["kind": .string($0.kind), "count": JSONValue($0.count), "example": .string($0.example)]
            })
        object["requests_per_second"] = JSONValue(requestRate)
        object["input_tokens"] = JSONValue(inputTokens)
        object["output_tokens"] = JSONValue(outputTokens)
        object["cached_tokens"] = cachedTokens.map { JSONValue($0) } ?? .null
        object["tokens_counted_by"] = isCountedByServer ? "usage" : "chunks"
        object["input_tokens_per_second"] = JSONValue(inputRate)
        object["output_tokens_per_second"] = JSONValue(outputRate)
        if let steadyState {
            object["steady_state"] = [
                "seconds": .seconds(steadyState.seconds), "tokens": JSONValue(steadyState.tokens),
                "tokens_per_second": steadyState.rate.map { JSONValue($0) } ?? .null,
            ]
        }
        object["latency"] = .object(
            JSONObject(
                Latency.allCases.map { latency in
                    .init(name: latency.rawValue, value: Statistic(values(latency))?.json ?? .null)
                }))
        object["samples"] = .array(samples.map(\.json))
        return .object(object)
    }
}

extension Sample {
    fileprivate var json: JSONValue {
        var object = JSONObject()
        object["index"] = JSONValue(index)
        object["scheduled"] = .seconds(scheduled)
        object["sent"] = .seconds(sent)
        object["ended"] = .seconds(ended)
        object["chunks"] = .array(chunks.map { .seconds($0) })
        object["input_tokens"] = JSONValue(inputTokens)
        object["output_tokens"] = JSONValue(outputTokens)
        object["cached_tokens"] = cachedTokens.map { JSONValue($0) } ?? .null
        switch outcome {
        case .completed: object["outcome"] = "completed"
        case .cancelled: object["outcome"] = "cancelled"
        case .failed(let failure):
            object["outcome"] = "failed"
            object["failure"] = ["kind": .string(failure.kind), "message": .string(failure.message)]
        }
        return .object(object)
    }
}

extension JSONValue {
    /// A time to the microsecond, which is finer than a network.
    static func seconds(_ value: Double) -> JSONValue { JSONValue((value * 1e6).rounded() / 1e6) }
}
