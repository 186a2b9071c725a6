"""How far the next token's distribution is from exact float32's, for Shoal and llama.cpp on the same weights. A section of
cluster/bench/against-llama-cpp."""

import json
import random
import shutil
import subprocess

import numpy
from processes import FIXTURES, SHOAL
from serving import table

# The layers of a stack as wide as gpt-oss-20b, with its vocabulary.
LAYERS = 4
# Four sliding windows of gpt-oss-20b.
POSITIONS = 512


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


def distances(exact, other, vocabulary):
    """Of the Kullback-Leibler divergences from exact at each position, in nats; and how often the likeliest is the same."""
    divergences, agreements = [], 0
    rows = (numpy.memmap(file, numpy.float32, "r").reshape(POSITIONS, -1)[:, :vocabulary] for file in (exact, other))
    for logits in zip(*rows):
        p, q = map(log_softmax, logits)
        divergences.append(float((numpy.exp(p) * (p - q)).sum()))
        agreements += int(p.argmax() == q.argmax())
    return {
        "median": float(numpy.median(divergences)), "mean": float(numpy.mean(divergences)),
        "p99": float(numpy.quantile(divergences, 0.99)), "same_top": agreements / POSITIONS,
    }  # fmt: skip


def shoal_logits(model, ids, file, *flags):
    command = [SHOAL, "score", "--model", model, "--tokens", ",".join(map(str, ids)), "--logits", file, *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return file


def measure_model(model, llama, out):
    config = json.loads((model / "config.json").read_text())
    if reason := obstacle(config):
        print(f"  {model.name}: not measured, since llama.cpp cannot compute it: {reason}", flush=True)
        return {"model": model.name, "not_measured": reason}
    model = with_whole_corrections(model, llama.cache / "quality" / model.name)
    ids = [random.Random(i).randrange(config["vocab_size"]) for i in range(POSITIONS)]
    names = ("exact", "shoal", "llama.cpp")
    files = {name: out / f"{model.name}-{name}.f32" for name in names}
    try:
        shoal_logits(model, ids, files["exact"], "--precision", "exact")
        shoal_logits(model, ids, files["shoal"])
        llama.write_logits(llama.converted(model), ids, files["llama.cpp"])
        vocabulary = config["vocab_size"]
        found = {name: distances(files["exact"], files[name], vocabulary) for name in names[1:]}
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)
    return {"model": model.name, "positions": POSITIONS, **found}


def measure(llama, out):
    print(f"\nKL divergence from exact float32 at {POSITIONS} positions of random tokens", flush=True)
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
