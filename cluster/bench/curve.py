"""Throughput of decoding without keys and with them, in pairs. Called by cluster/bench/curve."""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile

from overlap import rate, synthesised
from processes import SHOAL, Server, ShoalProcess


@contextlib.contextmanager
def cluster(model, keys):
    """A coordinator and two workers; with keys where there is a folder of them."""
    coordinator = ["--key", keys / "coordinator.key", "--authorized", keys / "worker.pub"] if keys else []
    worker = ["--key", keys / "worker.key", "--coordinator-key", keys / "coordinator.pub"] if keys else []
    with contextlib.ExitStack() as stack:
        server = Server(model, *coordinator)
        stack.callback(server.stop)
        for _ in range(2):
            threads = max(1, os.cpu_count() // 2)
            process = ShoalProcess(
                "worker", "--join", server.endpoint, "--model", model, "--threads", threads, *worker
            )  # fmt: skip
            stack.callback(process.stop)
        server.wait_until_ready(2, seconds=600)
        assert server.get("/cluster")[1]["protection"] == ("keys" if keys else "this machine only")
        yield server


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/curve")
    parser.add_argument("--model", type=pathlib.Path, help="a checkpoint, in place of a synthetic one")
    parser.add_argument("--synthesize", default="--preset gpt-oss-20b", help="flags of shoal synthesize")
    parser.add_argument("--sequences", default="1,8", help="how many decode together (default 1,8)")
    parser.add_argument("--tokens", type=int, default=48, help="counted tokens of each sequence")
    parser.add_argument("--rounds", type=int, default=5, help="pairs (default 5)")
    options = parser.parse_args()
    model = options.model or synthesised(options.synthesize)
    counts = [int(count) for count in options.sequences.split(",")]

    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder)
        for name in ("coordinator", "worker"):
            subprocess.run([SHOAL, "keygen", keys / name], check=True, stdout=subprocess.DEVNULL)
        for index in range(options.rounds):
            # Which comes first alternates, so that a machine that warms up or slows down favours neither.
            for folder in (None, keys) if index % 2 == 0 else (keys, None):
                with cluster(model, folder) as server:
                    for count in counts:
                        rates.setdefault((count, bool(folder)), []).append(rate(server, count, options.tokens))

    print(f"tokens/s, median of {options.rounds}; ratio of the pairs, median (least to greatest)")
    print(f"{'sequences':<12}{'without keys':>14}{'with keys':>12}{'ratio':>24}")
    for count in counts:
        without, protected = rates[count, False], rates[count, True]
        ratios = [b / a for a, b in zip(without, protected)]
        text = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{count:<12}{statistics.median(without):>14.1f}{statistics.median(protected):>12.1f}{text:>24}")


main()
