"""Throughput of decoding over several hosts, beside loopback and arithmetic. Called by cluster/bench/hosts."""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("e2e", "lib")]
from keys import Keys  # noqa: E402
from network import Cables, Line, Proxies  # noqa: E402
from overlap import rate  # noqa: E402
from processes import Server, ShoalProcess  # noqa: E402

WORKERS = 3
# A computer that forwards frames should not wait for those that compute, where that is permitted.
AT_ONCE = ["chrt", "--fifo", "1"]


@contextlib.contextmanager
def cluster(options, keys, network=None):
    """A coordinator and its workers, each on a host of its own where there is a network."""
    with contextlib.ExitStack() as stack:
        address = network.bind if network else "127.0.0.1"
        server = Server(options.model, "--bind", f"tcp://{address}:*", "--no-local-experts", *keys.coordinator)
        stack.callback(server.stop)
        port = server.endpoint.rpartition(":")[2]
        if network:
            network.route(int(server.wait_for(rf"{name}=tcp://[\d.]+:(\d+)").group(1)) for name in ("endpoint", "data"))
        for host in range(1, WORKERS + 1):
            join = network.coordinator(host) if network else address
            worker = ShoalProcess(
                "worker", "--join", f"tcp://{join}:{port}", "--model", options.model, "--threads", "1",
                *keys.worker(f"worker{host}"), within=network.inside(host) if network else (),
            )  # fmt: skip
            stack.callback(worker.stop)
        server.wait_until_ready(WORKERS, seconds=600)
        yield server


def measure(options, keys, sequences, network=None):
    """(tokens a second of all sequences together, bytes of tensors sent and received for a token)."""

    def traffic():
        workers, metrics = server.get("/cluster")[1]["workers"], server.metrics()
        tokens = sum(metrics[f'tokens_total{{kind="{kind}"}}'] for kind in ("prompt", "generated"))
        return sum(worker["bytesSent"] + worker["bytesReceived"] for worker in workers), tokens

    with cluster(options, keys, network) as server:
        # The first run reads the weights from the disk.
        rate(server, sequences, 8)
        bytes_before, tokens_before = traffic()
        found = rate(server, sequences, options.tokens)
        bytes_after, tokens_after = traffic()
        return found, (bytes_after - bytes_before) / (tokens_after - tokens_before)


def main():
    parser = argparse.ArgumentParser(prog="cluster/bench/hosts")
    parser.add_argument("--model", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cable", help=argparse.SUPPRESS)
    parser.add_argument("--round-trip", type=int, default=1000, help="microseconds added to each (default 1000)")
    parser.add_argument("--megabits", type=int, default=1000, help="a second, of each host in each direction (default 1000)")
    parser.add_argument("--sequences", default="1,8", help="decoded together (default 1,8)")
    parser.add_argument("--tokens", type=int, default=64, help="counted tokens of each sequence")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    layers = json.loads((options.model / "config.json").read_text())["num_hidden_layers"]
    keys = Keys(options.folder, [f"worker{host}" for host in range(1, WORKERS + 1)])
    prefix = AT_ONCE if subprocess.run([*AT_ONCE, "true"], capture_output=True).returncode == 0 else []
    hosts = WORKERS + 1
    network = Cables(options.cable, hosts, prefix=prefix) if options.cable else Proxies(hosts)

    trip, link = options.round_trip / 1e6, options.megabits * 1e6 / 8
    with contextlib.closing(network):
        network.set(0, Line(rate=link), Line(rate=link))
        for host in range(1, hosts):
            line = Line(delay=trip / 2, rate=link)
            network.set(host, line, line)
        print(
            f"{hosts} hosts over {network.description}, {options.megabits} Mbit/s and {trip * 1e3:g} ms there and back between "
            f"the coordinator and each of {WORKERS} workers, with keys; tokens/s, median of {options.rounds}\n"
        )
        print(f"{'sequences':>9}{'loopback':>10}{'hosts':>8}{'ratio':>7}   expected of a step")
        for sequences in map(int, options.sequences.split(",")):
            near, far = [], []
            for _ in range(options.rounds):
                near.append(measure(options, keys, sequences))
                far.append(measure(options, keys, sequences, network))
            loopback, reached = (statistics.median(found for found, _ in runs) for runs in (near, far))
            size = sequences * statistics.median(count for _, count in far)
            step = sequences / loopback
            expected = step + layers * trip + size / link
            print(
                f"{sequences:9}{loopback:10.1f}{reached:8.1f}{reached / loopback:7.2f}   {step * 1e3:.1f} ms on loopback + "
                f"{layers} layers x {trip * 1e3:g} ms + {size / 1e3:.0f} kB / {options.megabits} Mbit/s = {expected * 1e3:.1f} ms, "
                f"{sequences / expected:.1f} tokens/s; reached {reached * expected / sequences:.2f} of that", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
