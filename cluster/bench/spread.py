"""A coordinator and workers with keys, each on a host of its own or all on loopback, and how fast they decode."""

import concurrent.futures
import contextlib
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("e2e", "lib")]
from keys import Keys  # noqa: E402
from network import Cables, Line, Proxies  # noqa: E402
from processes import Server, ShoalProcess  # noqa: E402
from stream import stream  # noqa: E402

# A computer that forwards frames should not wait for those that compute, where that is permitted.
AT_ONCE = ["chrt", "--fifo", "1"]
# Steps in which the coordinator finds out what is faster; not counted.
LEARNING = 16


class Spread:
    """A model, and the hosts that it can be served on: the coordinator's and one for each worker.

    `cable` is the program of the network between them (cluster/lib/cable.c); without it they are behind a proxy."""

    def __init__(self, model, folder, workers, cable=None):
        self.model = model
        self.names = [f"worker{number + 1}" for number in range(workers)]
        self.keys = Keys(folder, self.names)
        prefix = AT_ONCE if subprocess.run([*AT_ONCE, "true"], capture_output=True).returncode == 0 else []
        self.network = Cables(cable, workers + 1, prefix=prefix) if cable else Proxies(workers + 1)

    def close(self):
        self.network.close()

    def hold_to(self, delay=0.0, rate=0.0):
        """The seconds of each direction between the coordinator and each worker, and a host's bytes a second."""
        self.network.set(0, Line(rate=rate), Line(rate=rate))
        for host in range(1, len(self.names) + 1):
            self.network.set(host, Line(delay=delay, rate=rate), Line(delay=delay, rate=rate))

    @contextlib.contextmanager
    def cluster(self, flags, worker_flags, environment=None, *, is_spread):
        """The coordinator, when all workers serve; everyone on loopback where it is not spread."""
        network = self.network if is_spread else None
        with contextlib.ExitStack() as stack:
            address = network.bind if network else "127.0.0.1"
            bind = ["--bind", f"tcp://{address}:*", *self.keys.coordinator]
            server = Server(self.model, *bind, *flags, environment=environment)
            stack.callback(server.stop)
            port = server.endpoint.rpartition(":")[2]
            if network:
                network.route(
                    int(server.wait_for(rf"{name}=tcp://[\d.]+:(\d+)").group(1)) for name in ("endpoint", "data")
                )
            for host, name in enumerate(self.names, 1):
                join = network.coordinator(host) if network else address
                worker = ShoalProcess(
                    "worker", "--join", f"tcp://{join}:{port}", "--model", self.model, *worker_flags,
                    *self.keys.worker(name), within=network.inside(host) if network else (),
                )  # fmt: skip
                stack.callback(worker.stop)
            server.wait_until_ready(len(self.names), seconds=600)
            yield server


def rate(server, sequences, tokens):
    """Tokens a second of all sequences together, from when all of them decode and the coordinator has learned."""
    prompts = [[100 + 37 * (i * 16 + j) % 800 for j in range(16)] for i in range(sequences)]
    with concurrent.futures.ThreadPoolExecutor(sequences) as pool:
        runs = list(pool.map(lambda prompt: stream(server, prompt, LEARNING + tokens)[1:], prompts))
    begin, end = max(times[LEARNING] for times in runs), min(times[-2] for times in runs)
    return sum(begin < time <= end for times in runs for time in times) / (end - begin)
