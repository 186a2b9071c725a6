"""Throughput and latency under load, against the limit that memory sets. Called by cluster/bench/serving."""

import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import SHOAL, Server, running  # noqa: E402

# Requests at each number of clients: waves enough for a median, few enough for ten minutes at full size.
REQUESTS = {1: 4, 2: 6, 4: 12, 8: 16, 16: 32, 32: 64}
PROMPT, ANSWER = 128, 64
SHARED_PREFIX = 2000
# The load beside which short prompts are sent, and for how long, in seconds.
LOAD = {"concurrency": 8, "input-tokens": 512, "output-tokens": 64, "duration": 60}


class Shape:
    """What a step reads, by config.json. The cache of keys and values, the router and the norms are left out: small."""

    # Bytes of a weight: MXFP4 is 4 bits and a scale of 8 for 32; attention and lm_head are int8 with a scale of 16.
    MXFP4, INT8, BF16 = 17 / 32, 34 / 32, 2

    def __init__(self, model):
        config = json.loads((model / "config.json").read_text())
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        queries = config["num_attention_heads"] * config["head_dim"]
        keys = config["num_key_value_heads"] * config["head_dim"]
        self.vocabulary = config["vocab_size"]
        self.layers = config["num_hidden_layers"]
        self.experts = config["num_local_experts"]
        self.chosen = config.get("num_experts_per_tok") or config["experts_per_token"]
        expert, attention = 3 * hidden * inner, hidden * (2 * queries + 2 * keys)
        # Of one token of a prompt; lm_head sees only the last.
        self.multiply_adds = self.layers * (self.chosen * expert + attention)
        self.expert = expert * (self.MXFP4 if config.get("quantization_config") else self.BF16)
        self.attention = self.layers * attention * self.INT8
        self.head = self.vocabulary * hidden * self.INT8

    def step_bytes(self, batch):
        """Expected, if each token chose its experts at random."""
        distinct = self.experts * (1 - (1 - self.chosen / self.experts) ** batch)
        return self.layers * distinct * self.expert + self.attention + self.head


class Bench:
    """`shoal bench` against one server; every report is kept in a folder."""

    def __init__(self, url, out):
        self.url, self.out = url, out
        probe = self.run("probe", "--requests", 1, "--output-tokens", 1, "--ignore-eos", "--allow-errors")
        # Answers are as long as asked where the server can promise that; with random weights they mostly are anyway.
        self.common = ["--ignore-eos"] if probe["levels"][0]["requests"]["completed"] else []

    common = []

    def start(self, name, *flags):
        files = ["--json", self.out / f"{name}.json", "--plot", self.out / f"{name}.svg"]
        command = [SHOAL, "bench", "--url", self.url, *self.common, *files, *flags]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)

    def result(self, name, process):
        if process.wait() != 0:
            sys.exit(f"`shoal bench` failed; {self.out / name}.json tells more")
        return json.loads((self.out / f"{name}.json").read_text())

    def run(self, name, *flags):
        return self.result(name, self.start(name, *flags))


def read_bandwidth(program):
    """GB/s of all cores together, and of one."""
    lines = subprocess.run([program, str(min(64, os.cpu_count()))], check=True, capture_output=True, text=True).stdout
    rates = [float(line.split()[1]) for line in lines.splitlines()]
    print(f"reading memory: {rates[0]:.1f} GB/s with one thread, {max(rates):.1f} with the best number of {len(rates)}")
    return max(rates)


def milliseconds(statistic, name):
    return f"{statistic[name] * 1000:.0f}" if statistic else "-"


def table(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths)))


def sweep(bench, shape, bandwidth):
    print(f"\n{PROMPT} prompt and {ANSWER} generated tokens each; requests: " + ", ".join(map(str, REQUESTS.values())))
    report = bench.run(
        "sweep", "--concurrency", ",".join(map(str, REQUESTS)), "--requests", ",".join(map(str, REQUESTS.values())),
        "--input-tokens", PROMPT, "--output-tokens", ANSWER, "--warm-up", 1,
    )  # fmt: skip
    # Others may use the machine too: the mean of before and after is nearer to what the server had than either.
    bandwidth = (bandwidth + read_bandwidth(ARGUMENTS.bandwidth)) / 2
    head = ["clients", "decode tok/s", "limit", "of it", "GB a step", "overall tok/s"]
    rows = [head + ["TTFT p50", "p99", "ITL p50", "p99 (ms)"]]
    levels = []
    for level in report["levels"]:
        batch, rate = level["concurrency"], level["steady_state"]["tokens_per_second"]
        limit = batch * bandwidth * 1e9 / shape.step_bytes(batch)
        levels.append({"clients": batch, "decode": rate, "limit": limit, "overall": level["output_tokens_per_second"]})
        first, between = level["latency"]["TTFT"], level["latency"]["ITL"]
        rows.append(
            [batch, f"{rate:.1f}" if rate else "-", f"{limit:.1f}", f"{rate / limit:.0%}" if rate else "-"]
            + [f"{shape.step_bytes(batch) / 1e9:.2f}", f"{level['output_tokens_per_second']:.1f}"]
            + [milliseconds(s, p) for s in (first, between) for p in ("p50", "p99")]
        )
    table(rows)
    print(f"decode: while all clients' requests decode; the limit: a step's bytes over {bandwidth:.1f} GB/s")
    return {"bandwidth_gb_per_second": bandwidth, "levels": levels}


def one_by_one(bench):
    """16 requests one after another, and at once. Prompts are as long, their tokens others: no cache helps either."""
    report = bench.run(
        "one-by-one", "--concurrency", "1,16", "--requests", 16, "--input-tokens", PROMPT, "--output-tokens", ANSWER
    )
    alone, together = (level["output_tokens_per_second"] for level in report["levels"])
    verdict = "reached" if together / alone >= 2.5 else "missed"
    print(f"\n16 requests one after another: {alone:.1f} tokens/s; at once: {together:.1f}")
    print(f"ratio {together / alone:.2f}, target 2.5: {verdict}")
    return {"one_after_another": alone, "at_once": together, "ratio": together / alone}


def short_under_load(bench):
    flags = [word for name, value in LOAD.items() for word in (f"--{name}", value)]
    load = bench.start("load", *flags)
    try:
        short = bench.run(
            "short", "--rate", 0.5, "--duration", LOAD["duration"] * 2 / 3, "--input-tokens", 8, "--output-tokens", 1
        )
        level = bench.result("load", load)["levels"][0]
    finally:
        if load.poll() is None:
            load.terminate()
            load.wait()
    first, pause = short["levels"][0]["latency"]["TTFT"], level["latency"]["ITL"]
    print(f"\nprompts of 8 tokens beside {LOAD['concurrency']} clients with prompts of {LOAD['input-tokens']}:")
    if not first or not pause:
        print("nothing was measured: the load's requests had no chunk after the first")
        return {"short_ttft": first, "load_itl": pause}
    print(
        f"TTFT p50 {first['p50'] * 1000:.0f} ms, p99 {first['p99'] * 1000:.0f} ms, of {first['count']}; "
        f"the longest pause of a decoding stream (a prefill chunk and a step): {pause['max'] * 1000:.0f} ms"
    )
    print(f"p99 of TTFT is {first['p99'] / pause['max']:.2f} of that pause; a new request may just miss a step: up to 2")
    return {"short_ttft": first, "load_itl": pause}


def prefix_cache(bench):
    report = bench.run(
        "prefix", "--requests", 2, "--input-tokens", SHARED_PREFIX + 32, "--shared-prefix", SHARED_PREFIX,
        "--output-tokens", 1,
    )  # fmt: skip
    samples = sorted(report["levels"][0]["samples"], key=lambda sample: sample["sent"])
    times = [(sample["chunks"] or [sample["ended"]])[0] - sample["sent"] for sample in samples]
    print(f"\ntwo prompts of {SHARED_PREFIX + 32} tokens that share {SHARED_PREFIX}:")
    print(f"TTFT {times[0] * 1000:.0f} ms, then {times[1] * 1000:.0f} ms: {times[1] / times[0]:.0%} of the first")
    print(f"tokens from the cache, as the server says: {samples[1]['cached_tokens']}")
    return {"first_ttft": times[0], "second_ttft": times[1], "cached_tokens": samples[1]["cached_tokens"]}


def main():
    out = ARGUMENTS.out
    out.mkdir(parents=True, exist_ok=True)
    shape = Shape(ARGUMENTS.model)
    bandwidth = read_bandwidth(ARGUMENTS.bandwidth)
    flags = ["--workers", ARGUMENTS.workers, *ARGUMENTS.server]
    for name, value in (("--max-sequences", max(REQUESTS)), ("--context", 4096)):
        if name not in flags:
            flags += [name, value]
    server = Server(ARGUMENTS.model, *flags, command="up")
    with running(server):
        server.wait_until_ready(ARGUMENTS.workers, seconds=600)
        bench = Bench(server.url, out)
        results = {
            "model": str(ARGUMENTS.model), "workers": ARGUMENTS.workers, "cores": os.cpu_count(),
            "sweep": sweep(bench, shape, bandwidth), "one_by_one": one_by_one(bench),
            "short_under_load": short_under_load(bench), "prefix_cache": prefix_cache(bench),
        }  # fmt: skip
    (out / "serving.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nreports and plots are in {out}; serving.json sums them up")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--bandwidth", required=True, help="the compiled bandwidth.c")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".build/bench/serving"))
    parser.add_argument("server", nargs="*", help="flags for the server")
    ARGUMENTS = parser.parse_args()
    main()
