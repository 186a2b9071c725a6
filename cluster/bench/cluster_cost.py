"""What a cluster of processes on one machine keeps of one process's speed, for Shoal and llama.cpp. A section of
cluster/bench/against-llama-cpp."""

import statistics

from serving import table
from workload import ANSWER, CLUSTER_PROMPT, THREADS, WORKER_THREADS, WORKERS, figure

TITLES = {"prefill": f"prefill of {CLUSTER_PROMPT} tokens", "decode": f"decoding {ANSWER} tokens of one sequence"}


def measure(engine, workers_first):
    """One process and a cluster, one after the other."""
    found = {}
    for workers in (WORKERS, 0) if workers_first else (0, WORKERS):
        name = "cluster" if workers else "one"
        found[name] = engine.speeds(workers)
        shown = ", ".join(f"{what} {figure(value)} tokens/s" for what, value in found[name].items())
        print(f"  {f'{workers} workers' if workers else 'one process'}: {shown}", flush=True)
    return found


def summary(found):
    """Medians by engine; what is kept, by round."""
    return [
        {
            "row": f"{name}: {title}",
            **{side: [of[side][what] for of in rounds] for side in ("one", "cluster")},
            "kept": statistics.median(of["cluster"][what] / of["one"][what] for of in rounds),
        }
        for what, title in TITLES.items()
        for name, rounds in found.items()
    ]


def show(rows):
    cells = [
        [row["row"], *(figure(statistics.median(row[side])) for side in ("one", "cluster")), f"{row['kept']:.0%}"]
        for row in rows
    ]
    print()
    table([["tokens/s, medians", "one process", f"{WORKERS} workers", "kept"], *cells])
    threads = "one thread" if WORKER_THREADS == 1 else f"{WORKER_THREADS} threads"
    print(f"One process has {THREADS} threads, a worker {threads}; beside workers there is a coordinator.")
