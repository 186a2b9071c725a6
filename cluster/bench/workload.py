"""What Shoal and llama.cpp are measured at by cluster/bench/against-llama-cpp, for both alike."""

import os

PROMPTS = (128, 512, 2048)
DEPTHS = (0, 2048, 16384)
# llama.cpp's prefill of the last one would take it a quarter of an hour.
LLAMA_DEPTHS = DEPTHS[:2]
# At so many clients at once, and how many requests: one for each, but of a single client's take two.
CLIENTS = {1: 2, 4: 4, 8: 8, 16: 16}
PROMPT, ANSWER = 128, 64
THREADS = os.cpu_count()
# Of a cluster: so many workers, which share the threads.
WORKERS, CLUSTER_PROMPT = 2, 512
WORKER_THREADS = max(1, THREADS // WORKERS)


def level(bench, name, warm_up=1, **flags):
    """One level of `shoal bench`, after requests that do not count."""
    words = [word for flag, value in flags.items() for word in ("--" + flag.replace("_", "-"), value)]
    return bench.run(name, "--warm-up", warm_up, "--timeout", 3600, *words)["levels"][0]


def serve(bench, clients):
    report = level(
        bench, f"serving-{clients}", concurrency=clients, requests=CLIENTS[clients],
        input_tokens=PROMPT, output_tokens=ANSWER,
    )  # fmt: skip
    yield ("serving", clients, "decode"), report["steady_state"]["tokens_per_second"]
    yield ("serving", clients, "overall"), report["output_tokens_per_second"]
    yield ("serving", clients, "TTFT p50"), report["latency"]["TTFT"]["p50"]


def figure(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
