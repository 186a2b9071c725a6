"""Shoal and llama.cpp in turn on the same weights, beside what the machine allows. Called by
cluster/bench/against-llama-cpp."""

import argparse
import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import cluster_cost  # noqa: E402
import quality  # noqa: E402
import side_by_side  # noqa: E402
from llama_engine import LlamaCpp  # noqa: E402
from serving import Shape  # noqa: E402
from shoal_engine import Shoal  # noqa: E402
from workload import THREADS, figure  # noqa: E402

# What is in the table of both, and all.
TABLE = ("prefill", "decode", "serving")
SECTIONS = (*TABLE, "cluster", "quality")


def parsed():
    parser = argparse.ArgumentParser(prog="cluster/bench/against-llama-cpp")
    parser.add_argument("--model", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--llama", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".build/bench/against-llama-cpp"))
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; it must be at least 1")
    return options


def rounds(count, engines):
    """Each engine's turns; neither is always the first."""
    for number in range(count):
        for engine in engines if number % 2 == 0 else reversed(engines):
            print(f"\nround {number + 1} of {count}, {engine.name}", flush=True)
            yield number, engine


def main():
    options = parsed()
    # As an exception, so that no server of 13 GB outlives a measurement that is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    shape = Shape(options.model)
    limits = side_by_side.Limits(shape, options.programs)
    shoal = Shoal(options.model, options.out)
    llama = LlamaCpp(options.llama, options.programs / "llama_logits", options.model, options.out)
    engines = (shoal, llama)
    results = {"model": options.model.name, "llama_cpp": options.llama.name, "threads": THREADS}

    if set(options.only) != {"quality"}:
        results["flash_attention"] = llama.choose_flash_attention()
    if sections := [section for section in TABLE if section in options.only]:
        found = {engine.name: {} for engine in engines}
        for _, engine in rounds(options.rounds, engines):
            limits.measure()
            for row, value in engine.measure(sections):
                found[engine.name].setdefault(row, []).append(value)
                print(f"  {side_by_side.title(row)}: {figure(value) if value else '-'}", flush=True)
        results |= side_by_side.results(found, limits)
    if "cluster" in options.only:
        found = {engine.name: [] for engine in engines}
        for number, engine in rounds(options.rounds, engines):
            found[engine.name].append(cluster_cost.measure(engine, workers_first=number % 2 == 1))
        results["cluster"] = cluster_cost.summary(found)
    if "quality" in options.only:
        results["quality"] = quality.measure(llama, options.out)

    file = options.out / "against-llama-cpp.json"
    file.write_text(json.dumps(results, indent=2) + "\n")
    if "rows" in results:
        side_by_side.show(results, shape)
    if "cluster" in results:
        cluster_cost.show(results["cluster"])
    if "quality" in results:
        quality.show(results["quality"])
    print(f"\n{file} has every figure.")


main()
