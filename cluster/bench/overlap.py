"""Throughput of decoding with and without a slow network, by the number of micro-batches. Called by
cluster/bench/overlap."""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import SHOAL, Server, ShoalProcess  # noqa: E402

CACHE = pathlib.Path(
    os.environ.get("SHOAL_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "shoal"
)
# SHOAL_MICRO_BATCHES and what it means.
MODES = {"1": "one micro-batch", "2": "two", "": "as chosen"}
# Steps in which the coordinator finds out what is faster; not counted.
LEARNING = 16


@contextlib.contextmanager
def cluster(model, proxy, delay, mode, worker_flags):
    """A coordinator and two workers, which reach it over a delaying proxy where there is a delay."""
    with contextlib.ExitStack() as stack:
        server = Server(model, environment={"SHOAL_MICRO_BATCHES": mode})
        stack.callback(server.stop)
        control = server.endpoint.rpartition(":")[2]
        host = "127.0.0.1"
        if delay:
            data = server.wait_for(r"data=tcp://[\d.]+:(\d+)").group(1)
            process = stack.enter_context(
                subprocess.Popen([proxy, str(delay), control, data], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            stack.callback(process.stdin.close)
            assert process.stdout.readline() == b"ready\n"
            host = "127.0.0.2"
        for _ in range(2):
            worker = ShoalProcess(
                "worker", "--join", f"tcp://{host}:{control}", "--model", model,
                "--threads", max(1, os.cpu_count() // 2), *worker_flags,
            )  # fmt: skip
            stack.callback(worker.stop)
        server.wait_until_ready(2, seconds=600)
        yield server


def stream(server, prompt, tokens):
    """When each token of one streamed completion came."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
    message = urllib.request.Request(
        server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(message) as response:
        return [time.monotonic() for line in response if line.startswith(b"data: {")]


def rate(server, sequences, tokens):
    """Tokens a second of all sequences together, from when all of them decode and the coordinator has learned."""
    prompts = [[100 + 37 * (i * 16 + j) % 800 for j in range(16)] for i in range(sequences)]
    with concurrent.futures.ThreadPoolExecutor(sequences) as pool:
        runs = list(pool.map(lambda prompt: stream(server, prompt, LEARNING + tokens), prompts))
    begin, end = max(times[LEARNING] for times in runs), min(times[-2] for times in runs)
    return sum(begin < time <= end for times in runs for time in times) / (end - begin)


def synthesised(flags):
    """The folder of a model with random weights, made where it is missing."""
    model = CACHE / ("-".join(flags.replace("--preset", "").replace("-", " ").split()) + "-synthetic")
    if not (model / "config.json").exists():
        subprocess.run([SHOAL, "synthesize", *flags.split(), "--out", model], check=True)
    return model


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/overlap")
    parser.add_argument("--proxy", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=pathlib.Path, help="a checkpoint, in place of a synthetic one")
    parser.add_argument("--synthesize", default="--preset gpt-oss-20b", help="flags of shoal synthesize")
    parser.add_argument("--delay", type=int, default=500, help="microseconds added to each direction (default 500)")
    parser.add_argument("--worker-memory", help="leave what exceeds it in a worker to the coordinator, such as 3G")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48, help="counted tokens of each sequence")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = options.model or synthesised(options.synthesize)
    layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]

    worker_flags = ["--memory", options.worker_memory] if options.worker_memory else []
    rates = {}
    for _ in range(options.rounds):
        for mode in MODES:
            for delay in (0, options.delay):
                with cluster(model, options.proxy, delay, mode, worker_flags) as server:
                    rates.setdefault((mode, delay), []).append(rate(server, options.sequences, options.tokens))
    medians = {key: statistics.median(values) for key, values in rates.items()}

    trip = 2 * options.delay / 1000
    step = 1000 * options.sequences / medians["1", 0]
    print(
        f"{layers} layers × {trip:g} ms there and back = {layers * trip:g} ms of waiting in a step, which takes "
        f"{step:.0f} ms without: {step / (step + layers * trip):.2f} of the throughput if nothing overlapped\n"
    )
    if options.worker_memory:
        print(f"The coordinator computes itself what exceeds {options.worker_memory} in a worker.")
    print(f"{options.sequences} sequences, tokens/s, median of {options.rounds} (least to greatest)")
    print(f"{'':<18}{'no delay':>24}{f'{options.delay} µs each way':>24}{'ratio':>8}")
    for mode, name in MODES.items():
        cells = [
            f"{medians[mode, delay]:.1f} ({min(rates[mode, delay]):.1f} to {max(rates[mode, delay]):.1f})"
            for delay in (0, options.delay)
        ]
        ratio = statistics.median(b / a for a, b in zip(rates[mode, 0], rates[mode, options.delay]))
        print(f"{name:<18}{cells[0]:>24}{cells[1]:>24}{ratio:>8.2f}")
    best = max(medians[mode, 0] for mode in MODES)
    print(f"\nas chosen with the delay, over the best without: {medians['', options.delay] / best:.2f}")


if __name__ == "__main__":
    main()
