"""Load time, speed and memory at full size, without workers and with two. Called by cluster/bench/full-size."""

import concurrent.futures
import json
import pathlib
import secrets
import statistics
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import Server, processes, running  # noqa: E402

MODEL = pathlib.Path(sys.argv[1])
# Bytes that one token's decoding reads: experts at 4.25 bits, attention and lm_head at 8.5 (see design: 2.39 G expert
# weights, 0.64 G attention weights and 0.58 G lm_head weights take part).
BYTES_PER_TOKEN = (2.39 * 4.25 + (0.64 + 0.58) * 8.5) / 8 * 1e9


def memory(pid):
    """Resident and proportional (shared pages divided among their users) and private dirty bytes."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        fields[name.rstrip(":")] = int(value) * 1024
    return fields["Rss"], fields["Pss"], fields["Private_Dirty"]


def stream(server, prompt, tokens):
    """When one streamed completion was asked for, and when each of its tokens came."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}
    # Nothing may be found in the prefix cache: the prompt is to be computed.
    body["cache_salt"] = secrets.token_hex(8)
    message = urllib.request.Request(
        server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    times = [time.monotonic()]
    with urllib.request.urlopen(message) as response:
        times += [time.monotonic() for line in response if line.startswith(b"data: {")]
    return times


def decoding_rate(server, count, ids):
    """Tokens a second of `count` sequences together, while all of them decode."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        runs = list(pool.map(lambda i: stream(server, ids[i * 16 : i * 16 + 16], 49), range(count)))
    begin, end = max(times[1] for times in runs), min(times[-2] for times in runs)
    return sum(begin < time <= end for times in runs for time in times) / (end - begin)


def show(server):
    print(f"{'process':<14}{'resident':>12}{'proportional':>14}{'private dirty':>15}   (GiB)")
    total = 0
    workers = processes(lambda _, parent: parent == server.process.pid)
    for name, pid in [("coordinator", server.process.pid)] + [("worker", pid) for pid in workers]:
        resident, proportional, private = memory(pid)
        total += proportional
        print(f"{name:<14}{resident / 2**30:>12.2f}{proportional / 2**30:>14.2f}{private / 2**30:>15.2f}")
    print(f"{'together':<14}{'':>12}{total / 2**30:>14.2f}")


def measure(workers):
    start = time.monotonic()
    server = Server(MODEL, "--workers", workers, command="up")
    with running(server):
        server.wait_until_ready(workers, seconds=600)
        print(f"\n{workers} workers: ready after {time.monotonic() - start:.1f} s")
        status, answer = server.post(
            "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16, "seed": 1}
        )
        assert status == 200, answer
        print("chat:", json.dumps(answer["choices"][0]["message"]["content"], ensure_ascii=False))

        ids = [1000 + 37 * i for i in range(512)]
        # Not counted: with workers the coordinator first tries out how many micro-batches a step should have.
        learning = 4 if workers else 1
        for length in (128, 512):
            runs = [stream(server, ids[:length], 1) for _ in range(learning + 3)][learning:]
            first = statistics.median(times[1] - times[0] for times in runs)
            print(f"prefill of {length} tokens: {length / first:.0f} tokens/s (median of 3)")
        for count in (1, 4, 8):
            rate = statistics.median([decoding_rate(server, count, ids) for _ in range(4)][1:])
            print(f"decoding, {count} sequences at once: {rate:.1f} tokens/s together (median of 3)")
            if count == 1:
                gigabytes = BYTES_PER_TOKEN / 1e9
                print(f"  a token reads at least {gigabytes:.2f} GB, so {gigabytes * rate:.1f} GB/s")
        show(server)


for count in (0, 2):
    measure(count)
