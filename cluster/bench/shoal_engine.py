"""Shoal, started and measured for cluster/bench/against-llama-cpp."""

import contextlib
import subprocess

from processes import Server, running
from serving import Bench
from workload import ANSWER, CLIENTS, CLUSTER_PROMPT, DEPTHS, PROMPTS, THREADS, level, serve


class Shoal:
    """Everything over HTTP, by `shoal up` with its defaults: what llama-bench leaves out is counted here."""

    name = "Shoal"

    def __init__(self, model, out):
        self.model, self.out = model, out / "shoal"
        self.out.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def bench(self, workers=0):
        """A load generator for a server with so many workers, which share the threads."""
        for file in self.model.glob("*.safetensors"):
            # Back into the page cache, from which the other engine may have driven it.
            subprocess.run(["cat", file], check=True, stdout=subprocess.DEVNULL)
        flags = ["--workers", workers, "--threads", THREADS, "--max-sequences", max(CLIENTS)]
        server = Server(self.model, *flags, "--context", max(DEPTHS) + 1024, command="up")
        with running(server):
            server.wait_until_ready(workers, seconds=600)
            yield Bench(server.url, self.out)

    def prefill(self, bench, length, warm_up=1, requests=1):
        report = level(
            bench, f"prefill-{length}", warm_up=warm_up, requests=requests, input_tokens=length, output_tokens=1
        )
        return length / report["latency"]["end to end"]["p50"]

    def decode(self, bench, depth):
        # The first token belongs to the prompt. A long one warms up by itself.
        report = level(
            bench, f"decode-{depth}", warm_up=int(depth < PROMPTS[-1]), requests=1,
            input_tokens=max(1, depth), output_tokens=ANSWER + 1,
        )  # fmt: skip
        return report["steady_state"]["tokens_per_second"]

    def measure(self, sections):
        with self.bench() as bench:
            for length in PROMPTS if "prefill" in sections else ():
                yield ("prefill", length, "prompt"), self.prefill(bench, length)
            for depth in DEPTHS if "decode" in sections else ():
                yield ("decode", depth, "decode"), self.decode(bench, depth)
            for clients in CLIENTS if "serving" in sections else ():
                yield from serve(bench, clients)

    def speeds(self, workers):
        """Tokens a second of prefill and of decoding one sequence."""
        with self.bench(workers) as bench:
            # With workers the coordinator first tries out how many micro-batches are faster.
            prefill = self.prefill(bench, CLUSTER_PROMPT, warm_up=12 if workers else 1, requests=3)
            return {"prefill": prefill, "decode": self.decode(bench, 0)}
