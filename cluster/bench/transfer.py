"""Rates of transfers of weights, beside plain TCP copies. Called by cluster/bench/transfer."""

import argparse
import contextlib
import json
import pathlib
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


def hold(link):
    subprocess.run("ip link set lo up; tc qdisc del dev lo root 2>/dev/null", shell=True)
    if link:
        subprocess.run(f"tc qdisc add dev lo root {link}", shell=True, check=True)


def tcp_copy(source, target=None):
    """Bytes a second of one connection, from a file in the page cache to memory, or to a file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send():
            connection, _ = listener.accept()
            with connection, open(source, "rb") as file:
                connection.sendfile(file)

        sender = threading.Thread(target=send)
        sender.start()
        buffer, count = bytearray(1 << 20), 0
        with socket.create_connection(listener.getsockname()) as connection, contextlib.ExitStack() as stack:
            file = stack.enter_context(open(target, "wb", buffering=0)) if target else None
            begin = time.monotonic()
            while received := connection.recv_into(buffer):
                count += received
                if file:
                    file.write(memoryview(buffer)[:received])
            seconds = time.monotonic() - begin
        sender.join()
    return count / seconds


def worker(server, *arguments):
    return ShoalProcess("worker", "--join", server.endpoint, *arguments, environment={"SHOAL_CACHE": ""})


def fetch(server, *arguments):
    """Bytes of experts a second until a new worker has them all, and those that came over the network."""
    with running(worker(server, "--threads", "1", *arguments)) as (process,):
        match = process.wait_for(r"the experts are here.*bytes=(\d+).*received=(\d+).*seconds=([\d.]+)", seconds=600)
    server.wait_until(lambda status: not status["workers"], what="no worker")
    return int(match.group(1)) / float(match.group(3)), int(match.group(2))


def rates(model, name):
    source = max(pathlib.Path(model).glob("*.safetensors"), key=lambda file: file.stat().st_size)
    with tempfile.TemporaryDirectory(dir=pathlib.Path(model).parent) as folder:
        folder = pathlib.Path(folder)
        server = Server(model, "--no-local-experts", environment={"SHOAL_CACHE": str(folder / "server")})
        with running(server):
            rows = [("TCP copy to memory", max(tcp_copy(source) for _ in range(3)), None)]
            rows.append(("a worker's first transfer", *fetch(server)))
            rows.append(("another worker's", *fetch(server)))
            rows.append(("TCP copy to a file", max(tcp_copy(source, folder / "copy") for _ in range(2)), None))
            (folder / "copy").unlink()
            rows.append(("a worker with --cache", *fetch(server, "--cache", folder / "cache")))
            rows.append(("its second start", *fetch(server, "--cache", folder / "cache")))
            shutil.rmtree(folder / "cache")
    copy = rows[0][1]
    for what, rate, received in rows:
        if received is None:
            copy = rate
        share = f"{rate / copy:6.0%} of the copy, {received / 1e6:.0f} MB over the network" if received else ""
        if received == 0:
            share = "from the cache, nothing over the network"
        print(f"{name:10}  {what:26} {rate / 1e6:7.0f} MB/s {share}", flush=True)


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
    server = Server(model, "--no-local-experts")
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
