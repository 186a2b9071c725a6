"""Mixed random requests for a while, many of them dropped: no error, no page lost, no memory that grows.

Two minutes here; `cluster/bench/soak SECONDS` runs it for longer and prints what it saw.
"""

import json
import os
import pathlib
import subprocess
import threading
import time

from processes import SHOAL, cluster

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
# Little memory for keys and values, so that requests are preempted; prompts that share beginnings.
SERVER = ["--kv-memory", "500K", "--context", "600", "--max-sequences", "12", "--threads", "1"]
LOAD = ["--concurrency", "16", "--cancel", "0.2", "--input-tokens", "uniform:1-300", "--output-tokens", "uniform:1-300"]
LOAD += ["--shared-prefix", "0.5", "--prefixes", "4", "--temperature", "1", "--timeout", "300", "--ignore-eos"]


def resident(pid):
    """Bytes of a process that are in memory."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_soak(model, tmp_path):
    with cluster(model, 2, *SERVER) as server:
        pids = [server.process.pid] + [worker.process.pid for worker in server.workers]
        samples = []
        ending = threading.Event()

        def watch():
            while not ending.wait(SECONDS / 120):
                samples.append([resident(pid) for pid in pids])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            report = tmp_path / "soak.json"
            command = [SHOAL, "bench", "--url", server.url, "--duration", SECONDS, *LOAD, "--json", report]
            bench = subprocess.run(
                [str(part) for part in command], capture_output=True, text=True, timeout=SECONDS + 120
            )
        finally:
            ending.set()
            watcher.join()
        print(bench.stdout)
        assert bench.returncode == 0, bench.stdout + bench.stderr
        assert json.loads(report.read_text())
        metrics = server.wait_until_idle()
        for name in ("finished_total{outcome=\"cancelled\"}", "finished_total{outcome=\"failed\"}"):
            print(f"requests {name}: {metrics['requests_' + name]:.0f}")
        for name in ("preemptions_total", "prefix_cache_hits_total", "steps_total", "kv_pages", "kv_pages_used"):
            print(f"{name}: {metrics[name]:.0f}")
        assert metrics["kv_pages_used"] == 0
        assert metrics['requests_finished_total{outcome="failed"}'] == 0
        assert metrics["preemptions_total"] > 0 and metrics["prefix_cache_hits_total"] > 0
        assert metrics['requests_finished_total{outcome="cancelled"}'] > 0
        for process, sizes in zip(["coordinator", "worker", "worker"], zip(*samples)):
            third = len(sizes) // 3
            early, late = max(sizes[third : 2 * third]), max(sizes[2 * third :])
            print(f"{process}: {early / 2**20:.1f} MiB resident in the second third, {late / 2**20:.1f} in the last")
            assert late <= early * 1.05 + 2**20, f"the memory of the {process} grows"
