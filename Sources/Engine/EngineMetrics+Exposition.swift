extension EngineMetrics {
    /// All of it as Prometheus reads it (text exposition format 0.0.4). Times are in seconds, memory is in pages.
    public var exposition: String {
        var text = ""
        func add(_ name: String, _ type: String, _ help: String, _ samples: [(labels: String, value: String)]) {
            text += "# HELP shoal_\(name) \(help)\n# TYPE shoal_\(name) \(type)\n"
            for sample in samples { text += "shoal_\(name)\(sample.labels) \(sample.value)\n" }
        }
        func add(_ name: String, _ type: String, _ help: String, _ value: Int) {
            add(name, type, help, [("", "\(value)")])
        }
        func add(_ name: String, _ help: String, _ histogram: Histogram) {
            var sum = 0
            var samples: [(labels: String, value: String)] = []
            for (index, count) in histogram.counts.enumerated() {
                sum += count
                let bound = index < histogram.bounds.count ? "\(histogram.bounds[index])" : "+Inf"
                samples.append(("_bucket{le=\"\(bound)\"}", "\(sum)"))
            }
            add(name, "histogram", help, samples + [("_sum", "\(histogram.sum)"), ("_count", "\(sum)")])
        }

        add("requests_running", "gauge", "Requests that take part in steps.", running)
        add("requests_waiting", "gauge", "Accepted requests that take part in no step.", waiting)
        add("requests_preempted", "gauge", "Requests that gave their pages up and wait for others.", preempted)
        add("kv_pages", "gauge", "Pages of memory for keys and values.", kvPages)
        add("kv_pages_used", "gauge", "Pages that requests use.", kvPagesUsed)
        add("kv_pages_findable", "gauge", "Pages whose content a later request may find.", kvPagesFindable)
        add("steps_total", "counter", "Forward passes.", steps)
        add(
            "step_seconds_total", "counter", "Time of forward passes, by part.",
            [("layers", stepTime.layers), ("output_head", stepTime.outputHead), ("sampling", stepTime.sampling)]
                .map { ("{part=\"\($0.0)\"}", "\($0.1)") })
        add("preemptions_total", "counter", "How often a request gave its pages up.", preemptions)
        add("prefix_cache_queries_total", "counter", "Prompt tokens of admitted requests.", prefixCacheQueries)
        add("prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", prefixCacheHits)
        add(
            "tokens_total", "counter", "Tokens by kind.",
            [("prompt", promptTokens), ("generated", generatedTokens), ("recomputed", recomputedTokens)]
                .map { ("{kind=\"\($0.0)\"}", "\($0.1)") })
        add(
            "requests_finished_total", "counter", "Requests that have ended, by how.",
            Outcome.allCases.map { ("{outcome=\"\($0.rawValue)\"}", "\(finished[$0, default: 0])") })
        add("requests_refused_total", "counter", "Requests refused because too many waited.", refused)
        add("queue_time_seconds", "From submission to the prompt's first chunk.", queueTime)
        add("time_to_first_token_seconds", "From submission to the first token.", timeToFirstToken)
        add("inter_token_latency_seconds", "From a token to the next of the same request.", interTokenLatency)
        add("request_time_seconds", "From submission to the end.", requestTime)
        add("step_tokens", "Tokens of a step.", stepTokens)
        add("step_sequences", "Sequences of a step.", stepSequences)
        return text
    }
}
