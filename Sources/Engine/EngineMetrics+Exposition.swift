extension EngineMetrics {
    /// All of it as Prometheus reads it (text exposition format 0.0.4). Times are in seconds, memory is in pages.
    public var exposition: String {
        var exposition = Exposition()
        exposition.add("requests_running", "gauge", "Requests that take part in steps.", running)
        exposition.add("requests_waiting", "gauge", "Accepted requests that take part in no step.", waiting)
        exposition.add(
            "requests_preempted", "gauge", "Requests that gave their pages up and wait for others.", preempted)
        exposition.add("kv_pages", "gauge", "Pages of memory for keys and values.", kvPages)
        exposition.add("kv_pages_used", "gauge", "Pages that requests use.", kvPagesUsed)
        exposition.add("kv_pages_findable", "gauge", "Pages whose content a later request may find.", kvPagesFindable)
        exposition.add("steps_total", "counter", "Forward passes.", steps)
        exposition.add(
            "step_seconds_total", "counter", "Time of forward passes, by part.",
            [("layers", stepTime.layers), ("output_head", stepTime.outputHead), ("sampling", stepTime.sampling)]
                .map { .init($0.1, ("part", $0.0)) })
        exposition.add("preemptions_total", "counter", "How often a request gave its pages up.", preemptions)
        exposition.add(
            "prefix_cache_queries_total", "counter", "Prompt tokens of admitted requests.", prefixCacheQueries)
        exposition.add(
            "prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", prefixCacheHits)
        exposition.add(
            "tokens_total", "counter", "Tokens by kind.",
            [("prompt", promptTokens), ("generated", generatedTokens), ("recomputed", recomputedTokens)]
                .map { .init($0.1, ("kind", $0.0)) })
        exposition.add(
            "requests_finished_total", "counter", "Requests that have ended, by how.",
            Outcome.allCases.map { .init(finished[$0, default: 0], ("outcome", $0.rawValue)) })
        exposition.add("requests_refused_total", "counter", "Requests refused because too many waited.", refused)
        exposition.add("queue_time_seconds", "From submission to the prompt's first chunk.", queueTime)
        exposition.add("time_to_first_token_seconds", "From submission to the first token.", timeToFirstToken)
        exposition.add(
            "inter_token_latency_seconds", "From a token to the next of the same request.", interTokenLatency)
        exposition.add("request_time_seconds", "From submission to the end.", requestTime)
        exposition.add("step_tokens", "Tokens of a step.", stepTokens)
        exposition.add("step_sequences", "Sequences of a step.", stepSequences)
        return exposition.text
    }
}
