"""Batches of decoding sequences beside the memory's speed. Called by cluster/bench/batches."""

import concurrent.futures
import os
import pathlib
import random
import statistics
import subprocess
import sys

from serving import Server, Shape, running
from stream import stream

ROUNDS = int(os.environ.get("ROUNDS", "5"))
BATCHES = [int(batch) for batch in os.environ.get("BATCHES", "1 2 4 8 16").split()]
TOKENS = int(os.environ.get("TOKENS", "32"))
THREADS = os.cpu_count()


def bandwidth(program):
    lines = subprocess.run([program, str(THREADS), "4"], check=True, capture_output=True, text=True).stdout
    return max(float(line.split()[1]) for line in lines.splitlines())


def step_seconds(server):
    metrics = server.metrics()
    return {part: metrics[f'step_seconds_total{{part="{part}"}}'] for part in ("layers", "output_head", "sampling")}


def burst(server, batch, vocabulary):
    """Tokens a second of all sequences, while all of them decode; and the seconds of each part of the steps."""
    prompts = [[random.randrange(vocabulary // 2) for _ in range(4)] for _ in range(batch)]
    before = step_seconds(server)
    with concurrent.futures.ThreadPoolExecutor(batch) as pool:
        times = list(pool.map(lambda prompt: stream(server, prompt, TOKENS), prompts))
    after = step_seconds(server)
    begin, end = max(each[1] for each in times), min(each[-1] for each in times)
    tokens = sum(sum(begin < time <= end for time in each) for each in times)
    return tokens / (end - begin), {part: after[part] - before[part] for part in after}


def main():
    if ROUNDS < 2:
        sys.exit(f"ROUNDS is {ROUNDS}; quartiles take at least 2")
    model, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    random.seed(1)
    shape = Shape(model)
    found = {batch: [] for batch in BATCHES}
    server = Server(model, "--threads", THREADS, "--context", 1024, "--kv-memory", "1G", "--max-sequences", max(BATCHES))
    with running(server):
        server.wait_until_ready(0, seconds=600)
        burst(server, max(BATCHES), shape.vocabulary)
        for index in range(ROUNDS):
            print(f"round {index + 1} of {ROUNDS}", file=sys.stderr)
            for batch in BATCHES if index % 2 == 0 else reversed(BATCHES):
                before = bandwidth(program)
                rate, parts = burst(server, batch, shape.vocabulary)
                speed = (before + bandwidth(program)) / 2
                limit = batch * speed * 1e9 / shape.step_bytes(batch)
                head = (parts["output_head"] + parts["sampling"]) / sum(parts.values())
                found[batch].append((rate, speed, rate / limit, head))
    print(f"{'sequences':>9}{'tokens/s':>10}{'memory, GB/s':>14}{'of its limit (quartiles)':>28}{'head and sampling':>19}")
    for batch, rows in found.items():
        rates, speeds, shares, heads = zip(*rows)
        low, middle, high = statistics.quantiles(shares, n=4)
        print(
            f"{batch:>9}{statistics.median(rates):>10.1f}{statistics.median(speeds):>14.1f}"
            f"{f'{middle:.0%} ({low:.0%} to {high:.0%})':>28}{statistics.median(heads):>19.1%}"
        )


main()
