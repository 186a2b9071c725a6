"""Throughput of decoding over several hosts, beside loopback and arithmetic. Called by cluster/bench/hosts."""

import argparse
import contextlib
import json
import pathlib
import statistics

from spread import Spread, rate

WORKERS = 3


def measure(spread, options, sequences, *, is_spread, local="none"):
    """(tokens a second of all sequences together, bytes of tensors sent and received for a token)."""

    def traffic():
        workers, metrics = server.get("/cluster")[1]["workers"], server.metrics()
        tokens = sum(metrics[f'tokens_total{{kind="{kind}"}}'] for kind in ("prompt", "generated"))
        return sum(worker["bytesSent"] + worker["bytesReceived"] for worker in workers), tokens

    with spread.cluster(["--local-experts", local], ["--threads", "1"], is_spread=is_spread) as server:
        # The first run reads the weights from the disk.
        rate(server, sequences, 8)
        bytes_before, tokens_before = traffic()
        found = rate(server, sequences, options.tokens)
        bytes_after, tokens_after = traffic()
        return found, (bytes_after - bytes_before) / (tokens_after - tokens_before)


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/hosts")
    parser.add_argument("--model", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cable", help=argparse.SUPPRESS)
    parser.add_argument("--round-trip", type=int, default=1000, help="microseconds added to each (default 1000)")
    parser.add_argument("--megabits", type=int, default=1000, help="a second, of each host in each direction (default 1000)")
    parser.add_argument("--sequences", default="1,8", help="decoded together (default 1,8)")
    parser.add_argument("--tokens", type=int, default=64, help="counted tokens of each sequence")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    layers = json.loads((options.model / "config.json").read_text())["num_hidden_layers"]
    trip, link = options.round_trip / 1e6, options.megabits * 1e6 / 8
    with contextlib.closing(Spread(options.model, options.folder, WORKERS, options.cable)) as spread:
        spread.hold_to(trip / 2, link)
        print(
            f"{WORKERS + 1} hosts over {spread.network.description}, {options.megabits} Mbit/s and {trip * 1e3:g} ms there and back between "
            f"the coordinator and each of {WORKERS} workers, with keys; tokens/s, median of {options.rounds}\n"
        )
        print(f"{'sequences':>9}{'loopback':>10}{'hosts':>8}{'ratio':>7}   expected of a step")
        for sequences in map(int, options.sequences.split(",")):
            near, far, shared = [], [], []
            for _ in range(options.rounds):
                near.append(measure(spread, options, sequences, is_spread=False))
                far.append(measure(spread, options, sequences, is_spread=True))
                shared.append(measure(spread, options, sequences, is_spread=True, local="share"))
            loopback, reached, sharing = (statistics.median(found for found, _ in runs) for runs in (near, far, shared))
            size = sequences * statistics.median(count for _, count in far)
            step = sequences / loopback
            expected = step + layers * trip + size / link
            print(
                f"{sequences:9}{loopback:10.1f}{reached:8.1f}{reached / loopback:7.2f}   {step * 1e3:.1f} ms on loopback + "
                f"{layers} layers x {trip * 1e3:g} ms + {size / 1e3:.0f} kB / {options.megabits} Mbit/s = {expected * 1e3:.1f} ms, "
                f"{sequences / expected:.1f} tokens/s; reached {reached * expected / sequences:.2f} of that; "
                f"with the coordinator computing a share {sharing:.1f}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
