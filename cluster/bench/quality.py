"""How far the next token's distribution is from exact float32's, for Shoal and llama.cpp on the same weights. A section
of cluster/bench/against-llama-cpp."""

import json
import random
import shutil
import subprocess
import sys

import numpy
from processes import FIXTURES, SHOAL
from serving import table

# The layers of a stack as wide as gpt-oss-20b, with its vocabulary.
LAYERS = 4
# The errors of one prompt's positions are not independent, since all of them see the same keys: so several prompts,
# each as long as two of gpt-oss-20b's sliding windows.
PROMPTS, POSITIONS = 8, 256


def stack(cache):
    """A checkpoint of gpt-oss-20b's dimensions but few layers, made once (4 GB)."""
    folder = cache / f"gpt-oss-20b-{LAYERS}-layers-synthetic"
    if not (folder / "config.json").exists():
        command = [SHOAL, "synthesize", "--preset", "gpt-oss-20b", "--layers", str(LAYERS), "--out", folder]
        subprocess.run(command, check=True)
    return folder


def obstacle(config):
    """Why llama.cpp cannot compute a model; None where it can."""
    for name in ("hidden_size", "intermediate_size"):
        if config[name] % 32:
            return f"{name} is {config[name]}, and Q8_0 and MXFP4 need a multiple of 32"
    if config["swiglu_limit"] != 7:
        return f"swiglu_limit is {config['swiglu_limit']}, and it knows only 7"
    return None


def with_whole_corrections(model, folder):
    """The model as llama.cpp computes it, for both: it rounds YaRN's correction range to whole dimensions whatever
    `truncate` says. That is a difference of the model, not of precision."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.is_file() and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text())
    config.get("rope_scaling", config.get("rope_parameters"))["truncate"] = True
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def log_softmax(logits):
    logits = logits.astype(numpy.float64)
    logits -= logits.max()
    return logits - numpy.log(numpy.exp(logits).sum())


def compare(exact, other):
    """The Kullback-Leibler divergences at each position, in nats, and where the likeliest token is the same."""
    for logits in zip(*(numpy.memmap(file, numpy.float32, "r").reshape(POSITIONS, -1) for file in (exact, other))):
        p, q = map(log_softmax, logits)
        yield float((numpy.exp(p) * (p - q)).sum()), bool(p.argmax() == q.argmax())


def summary(compared):
    divergences, same = zip(*compared)
    return {
        "median": float(numpy.median(divergences)), "mean": float(numpy.mean(divergences)),
        "p99": float(numpy.quantile(divergences, 0.99)), "same_top": float(numpy.mean(same)),
    }  # fmt: skip


def shoal_logits(model, ids, file, *flags):
    command = [SHOAL, "score", "--model", model, "--tokens", ",".join(map(str, ids)), "--logits", file, *flags]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)


def measure_model(model, llama, out):
    config = json.loads((model / "config.json").read_text())
    if reason := obstacle(config):
        print(f"  {model.name}: not measured, since llama.cpp cannot compute it: {reason}", flush=True)
        return {"model": model.name, "not_measured": reason}
    model = with_whole_corrections(model, llama.cache / "quality" / model.name)
    gguf = llama.converted(model)
    exact, other = out / "exact.f32", out / "other.f32"
    found = {"shoal": [], "llama.cpp": []}
    for seed in range(PROMPTS):
        generator = random.Random(seed)
        ids = [generator.randrange(config["vocab_size"]) for _ in range(POSITIONS)]
        shoal_logits(model, ids, exact, "--precision", "exact")
        shoal_logits(model, ids, other)
        found["shoal"] += compare(exact, other)
        llama.write_logits(gguf, ids, other)
        found["llama.cpp"] += compare(exact, other)
    exact.unlink()
    other.unlink()
    print(f"  {model.name}: measured", flush=True)
    return {"model": model.name, **{name: summary(compared) for name, compared in found.items()}}


def measure(llama, out):
    print(f"\nKL divergence from exact float32: {PROMPTS} prompts of {POSITIONS} random tokens", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    models = [*sorted(file.parent for file in (FIXTURES / "models").glob("*/config.json")), stack(llama.cache)]
    return [measure_model(model, llama, out) for model in models]


def show(results):
    head = ["KL divergence from float32, nats", "", "median", "mean", "p99", "same top token"]
    rows = [
        [result["model"], name, *(f"{found[s]:.2e}" for s in ("median", "mean", "p99")), f"{found['same_top']:.1%}"]
        for result in results
        if "not_measured" not in result
        for name, found in (("Shoal", result["shoal"]), ("llama.cpp", result["llama.cpp"]))
    ]
    print()
    table([head, *rows])
    for result in results:
        if "not_measured" in result:
            print(f"{result['model']} is missing: llama.cpp cannot compute it, since its {result['not_measured']}")
