"""The processes of the cluster that is broken: a coordinator and workers, each on a host of its own, with keys."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("e2e", "lib")]
from keys import Keys  # noqa: E402
from load import Refused  # noqa: E402
from processes import ShoalProcess, request  # noqa: E402

# Longer than any pause of the whole: what is judged is what happened, not how long it took.
PATIENCE = 3600
# A full disk, where none can be mounted: no file may grow beyond this many bytes.
LEAST_FILE = 8192
# Out of reach of the terminal's Ctrl-C, and ended with the thread that started it, however that ends.
ENDING_WITH_THIS = ["setsid", "setpriv", "--pdeathsig", "KILL"]


class Machine:
    """A `shoal` process that is started again and again."""

    def __init__(self, name, network, host, folder, arguments):
        self.name, self.network, self.host, self.arguments = name, network, host, arguments
        self.log = open(folder / f"{name}.log", "a")
        self.cache = folder / "digests"
        self.process = None

    def start(self, *further, within=()):
        self.process = ShoalProcess(
            *self.arguments, *further, environment={"SHOAL_CACHE": str(self.cache)},
            within=[*ENDING_WITH_THIS, *self.network.inside(self.host), *within], log=self.log,
        )  # fmt: skip

    @property
    def pid(self):
        return self.process.process.pid

    @property
    def has_ended(self):
        """By itself: nobody who ends it leaves it standing here."""
        return self.process is not None and self.process.process.poll() is not None

    def signal(self, number):
        if self.process:
            self.process.signal(number)

    def kill(self):
        if self.process:
            process, self.process = self.process, None
            process.process.kill()
            process.wait()

    def ask_to_end(self):
        """What is to be waited for; this machine has no process any more."""
        process, self.process = self.process, None
        process.signal(signal.SIGTERM)
        return process.process


class Worker(Machine):
    """With the checkpoint, or with a cache, which has a disk of its own where one can be mounted."""

    def __init__(self, name, network, host, folder, join, keys, model=None, memory=None, disk=None):
        arguments = ["worker", "--join", join, "--threads", "1", *keys.worker(name)]
        if memory:
            arguments += ["--memory", memory]
        self.disk, self.is_mounted = None, False
        if model:
            arguments += ["--model", model]
        else:
            self.disk = folder / f"{name}-disk"
            self.disk.mkdir()
            size = ["mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", self.disk]
            # In this process's own mount namespace, where there is one; else the disk is this machine's.
            self.is_mounted = bool(network.inside(host)) and subprocess.run(size).returncode == 0
            arguments += ["--cache", self.disk / "cache"]
        super().__init__(name, network, host, folder, arguments)

    def cached(self):
        """Files of whole experts."""
        return sorted(self.disk.glob("cache/experts/*/*.expert"))

    def fill_disk(self):
        with open(self.disk / "filler", "wb") as filler, contextlib.suppress(OSError):
            while True:
                os.write(filler.fileno(), bytes(4096))

    def empty_disk(self):
        (self.disk / "filler").unlink(missing_ok=True)

    def start_without_disk(self):
        """As with a full one."""
        if self.is_mounted:
            self.fill_disk()
            self.start()
        else:
            self.start(within=["prlimit", f"--fsize={LEAST_FILE}"])


class Absence:
    """A time in which the coordinator does not answer, and whether it broke off what it was at."""

    # Seconds within which it is doubtful who came first to the door.
    DOUBT = 0.25

    def __init__(self, begin, is_abrupt):
        self.begin, self.end, self.is_abrupt = begin, float("inf"), is_abrupt

    def explains(self, attempt, error):
        """Whether the attempt could not but fail as it did by now."""
        if attempt.begin > self.end + self.DOUBT:
            return False
        is_refused = isinstance(error, Refused)
        if self.is_abrupt:
            return not is_refused or error.is_for_the_end
        # What was accepted before an orderly end is answered, and what came later is turned away before it is begun with.
        is_turned_away = error.is_for_the_end if is_refused else isinstance(
            error, (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
        )  # fmt: skip
        return is_turned_away and not attempt.has_begun and attempt.sent > self.begin - self.DOUBT


class Coordinator(Machine):
    def __init__(self, network, folder, keys, model, clock):
        self.clock = clock
        self.absences = []
        self.computes_experts = True
        self.control = free_ports(network.bind, 4)
        self.http = self.control + 3
        self.url = f"http://127.0.0.1:{self.http}"
        arguments = ["serve", "--model", model, "--threads", "1", "--listen", f"127.0.0.1:{self.http}"]
        arguments += ["--bind", f"tcp://{network.bind}:{self.control}", *keys.coordinator]
        arguments += ["--recovery-timeout", PATIENCE, "--drain-timeout", PATIENCE]
        super().__init__("coordinator", network, 0, folder, arguments)

    def begin(self, local_experts, **flags):
        """Starts it, with `--local-experts` and `serve`'s other flags of these names."""
        self.computes_experts = local_experts != "none"
        flags["local_experts"] = local_experts
        self.start(*[word for name, value in flags.items() for word in ("--" + name.replace("_", "-"), value)])
        ports = [self.process.wait_for(rf"{name}=tcp://[\d.]+:(\d+)", seconds=PATIENCE).group(1)
                 for name in ("endpoint", "data", "weights")]  # fmt: skip
        self.network.route(map(int, ports))
        self.process.wait_for(r"serving.* url=", seconds=PATIENCE)
        if self.absences:
            self.absences[-1].end = self.clock.now()

    def leave(self, abruptly):
        """Ends it; returns the process where that may take a while."""
        self.absences.append(Absence(self.clock.now(), abruptly))
        if abruptly:
            return self.kill()
        return self.ask_to_end()

    def explains(self, attempt, error):
        """Whether the attempt failed because this was away."""
        return any(absence.explains(attempt, error) for absence in self.absences)

    def status(self):
        """(GET /ready, GET /cluster), or nothing where it does not answer."""
        try:
            return request(self.url + "/ready", seconds=5)[0], request(self.url + "/cluster", seconds=5)[1]
        except (OSError, ValueError):
            return None, None


class Cluster:
    def __init__(self, network, folder, model, clock):
        names = [f"worker{number}" for number in range(1, 5)]
        self.clock, self.network = clock, network
        self.keys = Keys(folder, names)
        self.coordinator = Coordinator(network, folder, self.keys, model, clock)
        means = [{"model": model}, {"model": model}, {"disk": "96M"}, {"disk": "96M", "memory": "16M"}]
        self.workers = [
            Worker(
                name, network, host, folder, f"tcp://{network.coordinator(host)}:{self.coordinator.control}", self.keys, **mean
            )
            for host, (name, mean) in enumerate(zip(names, means), 1)
        ]

    @property
    def machines(self):
        return [self.coordinator, *self.workers]

    def is_whole(self):
        """Whether every worker's process serves, none that is gone is still believed in, and requests are taken."""
        ready, status = self.coordinator.status()
        if ready != 200 or status["unownedExperts"]:
            return False
        members = sorted((int(member["name"].rpartition(":")[2]), member["state"]) for member in status["workers"])
        return members == sorted((worker.pid, "ready") for worker in self.workers if worker.process)

    def end(self):
        """Orderly; the exit codes by name."""
        processes = []
        for machine in reversed(self.machines):
            if machine.process:
                machine.signal(signal.SIGCONT)
                processes.append((machine.name, machine.ask_to_end()))
        return {name: process.wait() for name, process in processes}

    def kill(self):
        for machine in self.machines:
            machine.kill()


def free_ports(address, count):
    """The first of so many ports in a row that nobody listens at."""
    for first in range(18070, 60000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server((address, port)))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} free ports in a row at {address}")
