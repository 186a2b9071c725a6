"""Bursts of decoding and prefill in turn, of servers side by side. Called by cluster/bench/pairs."""

import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import SHOAL, Server, ShoalProcess, running  # noqa: E402
from stream import stream  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "12"))
DEPTHS = [int(depth) for depth in os.environ.get("DEPTHS", "0 2048 16384").split()]
TOKENS, PROMPT, WORKERS = 16, 512, 2
# The coordinator first tries out how many micro-batches are faster.
WARM_UP = 12
THREADS = os.cpu_count()
MODEL = pathlib.Path(sys.argv[1])
VOCABULARY = json.loads((MODEL / "config.json").read_text())["vocab_size"]


@contextlib.contextmanager
def cluster(local, keys):
    """A coordinator that does `local` of the experts' work itself, and workers that share the threads; with keys where there
    is a folder of them."""
    flags = ["--threads", THREADS, "--context", max(DEPTHS) + 1024, "--kv-memory", "1G", "--local-experts", local]
    worker = ["--threads", max(1, THREADS // WORKERS)]
    if keys:
        flags += ["--key", keys / "coordinator.key", "--authorized", keys / "worker.pub"]
        worker += ["--key", keys / "worker.key", "--coordinator-key", keys / "coordinator.pub"]
    server = Server(MODEL, *flags)
    with running(server), contextlib.ExitStack() as stack:
        for _ in range(WORKERS):
            process = ShoalProcess("worker", "--join", server.endpoint, "--model", MODEL, *worker)
            stack.enter_context(running(process))

        def holds_all(status):
            workers = status["workers"]
            return len(workers) == WORKERS and all(each["experts"] == status["experts"] for each in workers)

        server.wait_until(holds_all, seconds=600, what="every worker to hold every expert")
        yield server


class Case:
    """One kind of burst; its rates, in tokens a second, by round."""

    def __init__(self, name, server, depth=None):
        self.name, self.server, self.rates = name, server, []
        self.prompt = None if depth is None else prompt_of(max(1, depth))

    @property
    def is_prefill(self):
        return self.prompt is None

    def run(self, counts=True):
        if self.is_prefill:
            start, first = stream(self.server, prompt_of(PROMPT), 1)
            rate = PROMPT / (first - start)
        else:
            times = stream(self.server, self.prompt, TOKENS + 1)
            rate = TOKENS / (times[-1] - times[1])
        if counts:
            self.rates.append(rate)


def prompt_of(length):
    # Ordinary tokens: special ones have the highest numbers.
    return [random.randrange(VOCABULARY // 2) for _ in range(length)]


def show(case, baseline):
    ratios = [mine / theirs for mine, theirs in zip(case.rates, baseline.rates)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    rate = statistics.median(case.rates)
    print(f"{case.name:<52}{rate:>10.1f}{middle:>9.3f} ({low:.3f} to {high:.3f})")


def main():
    if ROUNDS < 2:
        sys.exit(f"ROUNDS is {ROUNDS}; quartiles take at least 2")
    random.seed(1)
    with contextlib.ExitStack() as stack:
        keys = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("coordinator", "worker"):
            subprocess.run([SHOAL, "keygen", keys / name], check=True, stdout=subprocess.DEVNULL)
        alone = Server(MODEL, "--threads", THREADS, "--context", max(DEPTHS) + 1024, "--kv-memory", "2G")
        stack.enter_context(running(alone))
        alone.wait_until_ready(0, seconds=600)
        cases = [Case(f"decoding at depth {depth}, one process", alone, depth) for depth in DEPTHS]
        cases += [Case(f"prefill of {PROMPT} tokens, one process", alone)]
        for name, local, folder in (
            (f"{WORKERS} workers", "spare", None),
            (f"{WORKERS} workers, keys", "spare", keys),
            (f"{WORKERS} workers, all of them computing", "share", None),
        ):
            server = stack.enter_context(cluster(local, folder))
            cases += [Case(f"decoding, coordinator and {name}", server, 0)]
            cases += [Case(f"prefill, coordinator and {name}", server)]
        for case in cases:
            for _ in range(WARM_UP if case.is_prefill else 2):
                case.run(counts=False)
        for index in range(ROUNDS):
            print(f"round {index + 1} of {ROUNDS}", file=sys.stderr)
            for case in cases if index % 2 == 0 else reversed(cases):
                case.run()
    print(f"{'':<52}{'tokens/s':>10}    ratio to one process, at depth 0: median (quartiles)")
    for case in cases:
        baseline = next(other for other in cases if other.is_prefill == case.is_prefill)
        show(case, baseline)


main()
