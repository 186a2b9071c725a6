"""The table of cluster/bench/against-llama-cpp: both engines' figures beside the machine's limits."""

import statistics
import subprocess

from serving import read_bandwidth, table
from workload import ANSWER, DEPTHS, PROMPT, THREADS, figure

ENGINES = ("Shoal", "llama.cpp")
UNITS = {"TTFT p50": "s"}


class Limits:
    """What the machine reads and computes, measured before each engine's turn: others may use it too."""

    def __init__(self, shape, programs):
        self.shape, self.programs = shape, programs
        self.bandwidths, self.peaks = [], []

    def measure(self):
        self.bandwidths.append(read_bandwidth(self.programs / "bandwidth"))
        command = [self.programs / "int8_peak", str(min(64, THREADS))]
        self.peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"int8 peak: {self.peaks[-1]:.2f} TOP/s", flush=True)

    def of(self, row):
        """Tokens a second, were reading or multiplying weights all that there is to do; None where neither says."""
        section, size, what = row
        if section == "prefill":
            return statistics.median(self.peaks) * 1e12 / (2 * self.shape.multiply_adds)
        if what == "decode":
            batch = size if section == "serving" else 1
            return batch * statistics.median(self.bandwidths) * 1e9 / self.shape.step_bytes(batch)
        return None


def title(row):
    section, size, what = row
    unit = UNITS.get(what, "tokens/s")
    return {
        "prefill": f"prefill of {size} tokens, {unit}",
        "decode": f"decoding one sequence at depth {size}, {unit}",
        "serving": f"serving {size} client{'s' if size > 1 else ''}: {what}, {unit}",
    }[section]


def median(values):
    """Of those that there are; None where there are none. A rate is missing where requests never decoded together."""
    values = [value for value in values if value]
    return statistics.median(values) if values else None


def summary(row, found, limit):
    """The figures of one row, in the order of the rounds, and what they come to."""
    values = {name: found[name].get(row, []) for name in ENGINES}
    ratio = median(ours / theirs for ours, theirs in zip(*values.values()) if ours and theirs)
    medians = {name: median(values[name]) for name in ENGINES}
    return {"row": title(row), **values, "medians": medians, "ratio": ratio, "limit": limit}


def kept_at_depth(decoding):
    """What Shoal keeps of its rate at depth 0, by depth."""
    pairs = {depth: zip(decoding["decode", depth, "decode"], decoding["decode", 0, "decode"]) for depth in DEPTHS[1:]}
    return {depth: median(deep / first for deep, first in both if deep and first) for depth, both in pairs.items()}


def results(found, limits):
    ours = found["Shoal"]
    return {
        "gigabytes_per_second": limits.bandwidths, "int8_tera_operations_per_second": limits.peaks,
        "rows": [summary(row, found, limits.of(row)) for row in ours],
        "kept_at_depth": kept_at_depth(ours) if ("decode", 0, "decode") in ours else {},
    }  # fmt: skip


def cells(row):
    def side(name):
        values = [value for value in row[name] if value]
        return f"{figure(row['medians'][name])} ({figure(min(values))} to {figure(max(values))})" if values else "-"

    def share(name):
        value, limit = row["medians"][name], row["limit"]
        return f"{value / limit:.0%}" if value and limit else "-"

    shown = [figure(row[name]) if row[name] else "-" for name in ("ratio", "limit")]
    return [row["row"], *map(side, ENGINES), *shown, *map(share, ENGINES)]


def show(results, shape):
    print(f"\n{THREADS} threads each; medians (least to greatest), ratios by round; of TTFT less is better")
    table([["", *ENGINES, "ratio", "limit", *(f"{name} of it" for name in ENGINES)], *map(cells, results["rows"])])
    print()
    for depth, kept in results["kept_at_depth"].items():
        if kept:
            print(f"At depth {depth} Shoal decodes at {kept:.0%} of its rate at depth 0.")
    peak = statistics.median(results["int8_tera_operations_per_second"])
    bandwidth = statistics.median(results["gigabytes_per_second"])
    print(
        f"""Shoal: everything over HTTP, with sampling. Its prefill is a prompt's length over the time of a request for
one token, its decoding that of one client. llama.cpp: prefill and decoding by llama-bench, which does neither.
Serving: all clients at once, each with a slot, {PROMPT} prompt and {ANSWER} generated tokens;
decode while all of them decode, overall with prefill and waiting.
Limits: {shape.multiply_adds / 1e9:.2f} G multiply-adds a prompt's token at {peak:.2f} int8 TOP/s; a step's weights
({shape.step_bytes(1) / 1e9:.2f} GB for one sequence) at {bandwidth:.1f} GB/s. Both are medians of this run."""
    )
