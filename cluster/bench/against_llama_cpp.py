"""Shoal and llama.cpp in turn on the same weights, beside what the machine allows. Called by
cluster/bench/against-llama-cpp."""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import Server, request, running  # noqa: E402
from serving import Bench, Shape, read_bandwidth, table  # noqa: E402

SECTIONS = ("prefill", "decode", "serving")
PROMPTS = (128, 512, 2048)
DEPTHS = (0, 2048)
# At so many clients at once, and how many requests: one for each, but of a single client's take two.
CLIENTS = {1: 2, 4: 4, 8: 8, 16: 16}
PROMPT, ANSWER = 128, 64
THREADS = os.cpu_count()
UNITS = {"TTFT p50": "s"}


def commas(numbers):
    return ",".join(map(str, numbers))


class Limits:
    """What the machine reads and computes, measured before each engine's turn: others may use it too."""

    def __init__(self, shape, bandwidth, int8_peak):
        self.shape, self.programs = shape, (bandwidth, int8_peak)
        self.bandwidths, self.peaks = [], []

    def measure(self):
        bandwidth, int8_peak = self.programs
        self.bandwidths.append(read_bandwidth(bandwidth))
        command = [int8_peak, str(min(64, THREADS))]
        self.peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"int8 peak: {self.peaks[-1]:.2f} TOP/s")

    def of(self, row):
        """Tokens a second, were reading or multiplying weights all that there is to do; None where neither says."""
        section, size, what = row
        if section == "prefill":
            return statistics.median(self.peaks) * 1e12 / (2 * self.shape.multiply_adds)
        if what == "decode":
            batch = size if section == "serving" else 1
            return batch * statistics.median(self.bandwidths) * 1e9 / self.shape.step_bytes(batch)
        return None


def level(bench, name, **flags):
    """One level of `shoal bench`, after a request that does not count."""
    words = [word for flag, value in flags.items() for word in ("--" + flag.replace("_", "-"), value)]
    return bench.run(name, "--warm-up", 1, *words)["levels"][0]


def serve(bench, clients):
    report = level(
        bench, f"serving-{clients}", concurrency=clients, requests=CLIENTS[clients],
        input_tokens=PROMPT, output_tokens=ANSWER,
    )  # fmt: skip
    yield ("serving", clients, "decode"), report["steady_state"]["tokens_per_second"]
    yield ("serving", clients, "overall"), report["output_tokens_per_second"]
    yield ("serving", clients, "TTFT p50"), report["latency"]["TTFT"]["p50"]


class Shoal:
    """Everything over HTTP, by `shoal serve` with its defaults: what llama-bench leaves out is counted here."""

    name = "Shoal"

    def __init__(self, model, out):
        self.model, self.out = model, out / "shoal"
        self.out.mkdir(parents=True, exist_ok=True)

    def measure(self, sections):
        for file in self.model.glob("*.safetensors"):
            # Back into the page cache, from which the other engine may have driven it.
            subprocess.run(["cat", file], check=True, stdout=subprocess.DEVNULL)
        server = Server(self.model, "--context", 4096, "--max-sequences", max(CLIENTS), "--threads", THREADS)
        with running(server):
            server.wait_until_ready(seconds=600)
            bench = Bench(server.url, self.out)
            for length in PROMPTS if "prefill" in sections else ():
                report = level(bench, f"prefill-{length}", requests=1, input_tokens=length, output_tokens=1)
                yield ("prefill", length, "prompt"), length / report["latency"]["end to end"]["p50"]
            for depth in DEPTHS if "decode" in sections else ():
                # Its first token belongs to the prompt.
                report = level(
                    bench, f"decode-{depth}", requests=1, input_tokens=max(1, depth), output_tokens=ANSWER + 1
                )
                yield ("decode", depth, "decode"), report["steady_state"]["tokens_per_second"]
            for clients in CLIENTS if "serving" in sections else ():
                yield from serve(bench, clients)


class LlamaCpp:
    """llama-bench and llama-server with their defaults, but for flash attention: on or off, whichever is faster.
    Weights are read, not mapped: what two engines map does not fit into the memory of many a machine."""

    name = "llama.cpp"

    def __init__(self, programs, gguf, out):
        self.programs, self.gguf, self.out = programs, gguf, out / "llama.cpp"
        self.out.mkdir(parents=True, exist_ok=True)
        self.common = ["--model", gguf, "--threads", THREADS, "--load-mode", "none"]

    def choose_flash_attention(self, sections):
        """By a trial, for each section: the better at what it does."""
        found = {}
        for result in self.bench("trial", "--flash-attn", "0,1", "-p", 512, "-n", ANSWER):
            found[result["flash_attn"] == 1, result["n_gen"] > 0] = result["avg_ts"]
        seconds = {
            "prefill": lambda on: 1 / found[on, False],
            "decode": lambda on: 1 / found[on, True],
            "serving": lambda on: PROMPT / found[on, False] + ANSWER / found[on, True],
        }
        self.flash = {s: "on" if seconds[s](True) < seconds[s](False) else "off" for s in sections}
        print("llama.cpp's flash attention: " + ", ".join(f"{value} for {s}" for s, value in self.flash.items()))

    def bench(self, name, *flags):
        command = [self.programs / "llama-bench", *self.common, "--repetitions", 1, "--output", "json", *flags]
        with open(self.out / f"{name}.log", "w") as log:
            run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=log, text=True)
        if run.returncode != 0:
            sys.exit(f"llama-bench failed; {log.name} tells why")
        (self.out / f"{name}.json").write_text(run.stdout)
        return json.loads(run.stdout)

    @contextlib.contextmanager
    def server(self, slots):
        """The address of llama-server with so many slots, each with room for one request. It has no cache of finished
        prompts to fill: none comes twice."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            self.programs / "llama-server", *self.common, "--flash-attn", self.flash["serving"], "--parallel", slots,
            "--ctx-size", slots * 2 * (PROMPT + ANSWER), "--cache-ram", 0, "--host", "127.0.0.1", "--port", port,
        ]  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        with open(self.out / f"server-{slots}.log", "w") as log:
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 600
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"llama-server did not become ready; {log.name} tells why")
                with contextlib.suppress(OSError):
                    if request(url + "/health")[0] == 200:
                        break
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait()

    def measure(self, sections):
        if "prefill" in sections:
            for result in self.bench("prefill", "--flash-attn", self.flash["prefill"], "-p", commas(PROMPTS), "-n", 0):
                yield ("prefill", result["n_prompt"], "prompt"), result["avg_ts"]
        if "decode" in sections:
            flags = ["--flash-attn", self.flash["decode"], "--n-depth", commas(DEPTHS)]
            for result in self.bench("decode", *flags, "-p", 0, "-n", ANSWER):
                yield ("decode", result["n_depth"], "decode"), result["avg_ts"]
        for clients in CLIENTS if "serving" in sections else ():
            with self.server(clients) as url:
                yield from serve(Bench(url, self.out), clients)


def figure(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def title(row):
    section, size, what = row
    unit = UNITS.get(what, "tokens/s")
    return {
        "prefill": f"prefill of {size} tokens, {unit}",
        "decode": f"decoding one sequence at depth {size}, {unit}",
        "serving": f"serving {size} client{'s' if size > 1 else ''}: {what}, {unit}",
    }[section]


def summary(row, shoal, llama, limit):
    """The figures of one row; a rate may be missing where requests never decoded together."""
    pairs = [(ours, theirs) for ours, theirs in zip(shoal, llama) if ours and theirs]
    if not pairs:
        return {"row": title(row), "shoal": shoal, "llama.cpp": llama}
    ours, theirs = (statistics.median(side) for side in zip(*pairs))
    return {
        "row": title(row), "shoal": shoal, "llama.cpp": llama, "shoal_median": ours, "llama.cpp_median": theirs,
        "ratio": statistics.median(a / b for a, b in pairs), "limit": limit,
    }  # fmt: skip


def cells(row):
    if "ratio" not in row:
        return [row["row"], "-", "-", "-", "-", "-", "-"]

    def side(name):
        values = [value for value in row[name] if value]
        return f"{figure(row[name + '_median'])} ({figure(min(values))} to {figure(max(values))})"

    shown = [row["row"], side("shoal"), side("llama.cpp"), f"{row['ratio']:.2f}"]
    if not row["limit"]:
        return [*shown, "-", "-", "-"]
    shares = [f"{row[name] / row['limit']:.0%}" for name in ("shoal_median", "llama.cpp_median")]
    return [*shown, figure(row["limit"]), *shares]


def report(options, flash, limits, ours, theirs):
    rows = [summary(row, values, theirs[row], limits.of(row)) for row, values in ours.items()]
    results = {
        "model": options.model.name, "llama_cpp_python": options.llama_version, "threads": THREADS,
        "flash_attention": flash, "gigabytes_per_second": limits.bandwidths,
        "int8_tera_operations_per_second": limits.peaks, "rows": rows,
    }  # fmt: skip
    (options.out / "against-llama-cpp.json").write_text(json.dumps(results, indent=2) + "\n")

    print(f"\n{THREADS} threads each; medians (least to greatest), ratios by round; of TTFT less is better")
    table([["", "Shoal", "llama.cpp", "ratio", "limit", "Shoal of it", "llama.cpp of it"], *map(cells, rows)])
    peak, bandwidth = statistics.median(limits.peaks), statistics.median(limits.bandwidths)
    print(
        f"""
Shoal: everything over HTTP, with sampling. Its prefill is a prompt's length over the time of a request for one token,
its decoding that of one client. llama.cpp: prefill and decoding by llama-bench, which does neither.
Serving: all clients at once, each with a slot, {PROMPT} prompt and {ANSWER} generated tokens;
decode while all of them decode, overall with prefill and waiting.
Limits: {limits.shape.multiply_adds / 1e9:.2f} G multiply-adds a prompt's token at {peak:.2f} int8 TOP/s; a step's weights
({limits.shape.step_bytes(1) / 1e9:.2f} GB for one sequence) at {bandwidth:.1f} GB/s. Both are medians of this run.
{options.out / "against-llama-cpp.json"} has every figure."""
    )


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/against-llama-cpp")
    parser.add_argument("--model", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--gguf", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--llama", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--llama-version", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bandwidth", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--int8-peak", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".build/bench/against-llama-cpp"))
    options = parser.parse_args()
    sections = options.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; it must be at least 1")

    # As an exception, so that no server of 13 GB outlives a measurement that is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    limits = Limits(Shape(options.model), options.bandwidth, options.int8_peak)
    shoal, llama = Shoal(options.model, options.out), LlamaCpp(options.llama, options.gguf, options.out)
    llama.choose_flash_attention(sections)
    found = {shoal.name: {}, llama.name: {}}
    for number in range(options.rounds):
        # Neither is always the first.
        for engine in (shoal, llama) if number % 2 == 0 else (llama, shoal):
            print(f"\nround {number + 1} of {options.rounds}, {engine.name}", flush=True)
            limits.measure()
            for row, value in engine.measure(sections):
                found[engine.name].setdefault(row, []).append(value)
                print(f"  {title(row)}: {figure(value) if value else '-'}", flush=True)

    report(options, llama.flash, limits, found[shoal.name], found[llama.name])


main()
