"""Rates of transfers of weights, beside plain TCP copies. Called by cluster/bench/transfer."""

import argparse
import contextlib
import json
import mmap
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import Server, ShoalProcess, running  # noqa: E402

# What loopback is held to: name and tc's words, a queue of 50 ms behind it.
LINKS = {
    "loopback": None,
    "10 Gbit/s": "tbf rate 10gbit burst 4m latency 50ms",
    "1 Gbit/s": "tbf rate 1gbit burst 128k latency 50ms",
}

COPIED = 1 << 29  # bytes of a plain copy
PAIRS = 3


def hold(link):
    subprocess.run("ip link set lo up; tc qdisc del dev lo root 2>/dev/null", shell=True)
    if link:
        subprocess.run(f"tc qdisc add dev lo root {link}", shell=True, check=True)


def fresh_memory(count):
    """Memory that nothing has touched, in large pages, as a worker has it for experts."""
    memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # where the system has none
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def warm(count):
    """Touches so much memory, and frees it. A guest may have given free memory back to its host, and whoever touches it
    first then waits for the host to zero it: several times as long as anything else that is measured here. Linux reports
    what is free every two seconds, if anything was freed: what was freed before is reported while this is held."""
    memory = fresh_memory(count)
    memory[:: mmap.PAGESIZE] = bytes(len(range(0, count, mmap.PAGESIZE)))
    time.sleep(2.5)
    memory.close()


def largest_file(model):
    return max(pathlib.Path(model).glob("*.safetensors"), key=lambda file: file.stat().st_size)


def own_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def processor_seconds(process):
    """What a process that runs has had of the processors."""
    fields = pathlib.Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tcp_copy(source, keep=False, target=None):
    """Bytes a second of one connection, and processor seconds a byte of both its ends: from a file in the page cache into
    one buffer again and again, which with a target is written to that file; or into fresh memory that keeps all."""
    size = min(source.stat().st_size, COPIED)
    warm(size)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send():
            connection, _ = listener.accept()
            with connection, open(source, "rb") as file:
                connection.sendfile(file, 0, size)

        sender = threading.Thread(target=send)
        kept = memoryview(fresh_memory(size + 1)) if keep else None
        buffer, count = bytearray(1 << 20), 0
        begin, used = time.monotonic(), own_seconds()
        sender.start()
        with socket.create_connection(listener.getsockname()) as connection, contextlib.ExitStack() as stack:
            file = stack.enter_context(open(target, "wb", buffering=0)) if target else None
            while received := connection.recv_into(kept[count : count + len(buffer)] if keep else buffer):
                count += received
                if file:
                    file.write(memoryview(buffer)[:received])
        sender.join()
    return count / (time.monotonic() - begin), (own_seconds() - used) / count


def worker(server, *arguments):
    return ShoalProcess("worker", "--join", server.endpoint, *arguments, environment={"SHOAL_CACHE": ""})


def fetch(server, size, *arguments):
    """Bytes of experts a second until a new worker has all, of about `size` bytes, processor seconds a byte of it and the
    coordinator, and the bytes that came over the network."""
    warm(size)
    used = processor_seconds(server)
    with running(worker(server, "--threads", "1", *arguments)) as (process,):
        match = process.wait_for(r"the experts are here.*bytes=(\d+).*received=(\d+).*seconds=([\d.]+)", seconds=600)
        used = processor_seconds(server) + processor_seconds(process) - used
    server.wait_until(lambda status: not status["workers"], what="no worker")
    return int(match.group(1)) / float(match.group(3)), used / int(match.group(1)), int(match.group(2))


def rates(model, name):
    def show(what, runs, beside=()):
        rate, used = (statistics.median(run[column] for run in runs) for column in (0, 1))
        shares = [f"{statistics.median(run[0] / copy[0] for run, copy in zip(runs, other)):.0%}" for other in beside]
        share = f", {' and '.join(shares)} of the cop{'ies' if len(shares) > 1 else 'y'}" if shares else ""
        print(f"{name:10}  {what:25} {rate / 1e6:6.0f} MB/s, {used * 1e9:.2f} processor s/GB{share}", flush=True)

    source = largest_file(model)
    size = sum(file.stat().st_size for file in pathlib.Path(model).glob("*.safetensors"))
    with tempfile.TemporaryDirectory(dir=pathlib.Path(model).parent) as folder:
        folder = pathlib.Path(folder)
        server = Server(model, "--local-experts", "none", environment={"SHOAL_CACHE": str(folder / "server")})
        with running(server):
            show("a worker's first transfer", [fetch(server, size)])
            trios = [(tcp_copy(source), tcp_copy(source, keep=True), fetch(server, size)) for _ in range(PAIRS)]
            buffered, kept, fetched = zip(*trios)
            show("TCP copy to one buffer", buffered)
            show("TCP copy to fresh memory", kept)
            show("another worker's", fetched, (buffered, kept))
            written = [tcp_copy(source, target=folder / "copy") for _ in range(PAIRS)]
            show("TCP copy to a file", written)
            (folder / "copy").unlink()
            show("a worker with --cache", [fetch(server, size, "--cache", folder / "cache")], (written,))
            again = fetch(server, size, "--cache", folder / "cache")
            show(f"again, {again[2] / 1e6:.0f} MB received", [again])
            shutil.rmtree(folder / "cache")


def gaps(server, until):
    """Seconds between the tokens of one streamed completion after the other, until `until()`."""
    found = []
    while not until():
        body = {"prompt": [5, 6, 7, 8], "max_tokens": 100, "stream": True, "ignore_eos": True}
        message = urllib.request.Request(
            server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(message) as response:
            times = [time.monotonic() for line in response if line.startswith(b"data: {")]
        found += [later - earlier for earlier, later in zip(times, times[1:])]
    return found


def disturbance(model, name):
    """What the time between tokens is while nothing and while something is transferred, over the same link."""
    server = Server(model, "--local-experts", "none")
    with running(server), running(worker(server, "--threads", "1", "--model", model)):
        server.wait_until_ready(1, seconds=600)
        end = time.monotonic() + 10
        quiet = gaps(server, lambda: time.monotonic() > end)
        with running(worker(server, "--threads", "1")) as (newcomer,):
            busy = gaps(server, lambda: "the experts are here" in newcomer.output)
        for what, times in (("without a transfer", quiet), ("during a transfer", busy)):
            percentiles = statistics.quantiles(times, n=100)
            print(
                f"{name:10}  time between tokens {what:19}: p50 {percentiles[49] * 1e3:.1f} ms, "
                f"p99 {percentiles[98] * 1e3:.1f} ms ({len(times)} tokens)", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/transfer")
    parser.add_argument("model")
    parser.add_argument("--limit", action="store_true", help="the network is this process's own, to be limited")
    arguments = parser.parse_args()
    for name, link in LINKS.items() if arguments.limit else [("loopback", None)]:
        if arguments.limit:
            hold(link)
        rates(arguments.model, name)
        disturbance(arguments.model, name)


if __name__ == "__main__":
    main()
