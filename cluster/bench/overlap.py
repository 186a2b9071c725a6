"""Throughput of decoding with and without a slow network, by the number of micro-batches. Called by
cluster/bench/overlap."""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess

from spread import Spread, rate

from processes import SHOAL

WORKERS = 2
CACHE = pathlib.Path(
    os.environ.get("SHOAL_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "shoal"
)
# SHOAL_MICRO_BATCHES and what it means.
MODES = {"1": "one micro-batch", "2": "two", "": "as chosen"}


def synthesised(flags):
    """The folder of a model with random weights, made where it is missing."""
    model = CACHE / ("-".join(flags.replace("--preset", "").replace("-", " ").split()) + "-synthetic")
    if not (model / "config.json").exists():
        subprocess.run([SHOAL, "synthesize", *flags.split(), "--out", model], check=True)
    return model


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/overlap")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cable", help=argparse.SUPPRESS)
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

    worker_flags = ["--threads", max(1, os.cpu_count() // WORKERS)]
    if options.worker_memory:
        worker_flags += ["--memory", options.worker_memory]
    rates = {}
    with contextlib.closing(Spread(model, options.folder, WORKERS, options.cable)) as spread:
        spread.hold_to(delay=options.delay / 1e6)
        for _ in range(options.rounds):
            for mode in MODES:
                for delay in (0, options.delay):
                    environment = {"SHOAL_MICRO_BATCHES": mode}
                    flags = ["--local-experts", "spare"]
                    with spread.cluster(flags, worker_flags, environment, is_spread=delay > 0) as server:
                        found = rate(server, options.sequences, options.tokens)
                    rates.setdefault((mode, delay), []).append(found)
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
