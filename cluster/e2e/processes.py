"""Real Shoal processes on loopback and free ports. Whatever is started is ended, by its process id."""

import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOAL = os.environ.get("SHOAL") or str(ROOT / ".build/release/shoal")
FIXTURES = pathlib.Path(os.environ.get("SHOAL_FIXTURES") or ROOT / "Tests/Fixtures")


CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}


class ShoalProcess:
    """A `shoal` command that runs until it is stopped; its output is kept, line by line. `within` is a command that is to
    run it, and `log` a file that has its output too."""

    def __init__(self, *arguments, environment=None, within=(), log=None):
        self.process = subprocess.Popen(
            [*within, SHOAL, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.lines = []
        self._log = log
        self._news = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self._log:
                self._log.write(line)
                self._log.flush()
            self._news.put(line)
        self._news.put(None)

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait_for(self, pattern, seconds=60):
        """The first match of `pattern` in any line of the output."""
        deadline = time.monotonic() + seconds
        while True:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            try:
                ended = self._news.get(timeout=max(0.01, deadline - time.monotonic())) is None
            except queue.Empty:
                ended = False
            if ended and not any(re.search(pattern, line) for line in self.lines):
                raise AssertionError(f"ended without {pattern!r}:\n{self.output}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} within {seconds} s:\n{self.output}")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=30):
        return self.process.wait(timeout=seconds)

    def stop(self, seconds=30):
        """Ends the process in the orderly way, and by force where that takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not end within {seconds} s of SIGTERM:\n{self.output}")
        # Whatever a test does to a process, these are the process's own doing.
        crash = -self.process.returncode
        assert crash not in CRASHES, f"crashed with {signal.Signals(crash).name}:\n{self.output}"
        return self.process.returncode


class Server(ShoalProcess):
    """`shoal serve` (or `up`) with the addresses that it chose."""

    def __init__(self, model, *arguments, command="serve", environment=None):
        addresses = ["--listen", "127.0.0.1:0"]
        if "--bind" not in arguments:
            addresses += ["--bind", "tcp://127.0.0.1:*"]
        super().__init__(command, "--model", model, *addresses, *arguments, environment=environment)
        try:
            self.url = self.wait_for(r"(http://127\.0\.0\.1:\d+)").group(1)
            self.endpoint = self.wait_for(r"(tcp://[\d.]+:\d+)").group(1)
        except BaseException:
            self.process.kill()
            raise

    def get(self, path):
        return request(self.url + path)

    def metrics(self):
        """What GET /metrics says, by name."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as response:
            lines = response.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name.removeprefix("shoal_"): float(value) for name, value in samples}

    def wait_until_idle(self, seconds=60):
        """The metrics once no request is left."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            metrics = self.metrics()
            if metrics["requests_running"] + metrics["requests_waiting"] == 0:
                return metrics
            time.sleep(0.05)
        raise AssertionError(f"not idle within {seconds} s: {metrics}")

    def post(self, path, body):
        return request(self.url + path, body)

    def wait_until(self, condition, seconds=30, what="the condition"):
        """Polls GET /cluster until `condition(status)` holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status, body = self.get("/cluster")
            if status == 200 and condition(body):
                return body
            time.sleep(0.05)
        raise AssertionError(f"{what} not reached within {seconds} s: {body}\n{self.output}")

    def wait_until_ready(self, workers=0, seconds=60):
        def ready(status):
            members = [m for m in status["workers"] if m["state"] == "ready"]
            return len(members) == workers and self.get("/ready")[0] == 200

        return self.wait_until(ready, seconds, f"{workers} ready workers")


def request(url, body=None, seconds=60):
    """(status, JSON body) of a GET, or of a POST where there is a body."""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    message = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(message, timeout=seconds) as response:
            text, status = response.read(), response.status
    except urllib.error.HTTPError as error:
        text, status = error.read(), error.code
    return status, json.loads(text) if text else None


def processes(matches):
    """The ids of processes for which `matches(command line, parent's id)` holds."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has just ended
        if matches(command, parent):
            found.append(int(folder.name))
    return found


@contextlib.contextmanager
def running(*processes):
    """Ends the processes on the way out, the last started first. None may have crashed."""
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.callback(process.stop)
        yield processes


# Long enough that something can happen in the middle of it.
REQUEST = {"prompt": [5, 6, 7, 8], "max_tokens": 200, "seed": 11, "logprobs": 1}


def complete(server, **changes):
    """The choices of a completion."""
    status, answer = server.post("/v1/completions", {**REQUEST, **changes})
    assert status == 200, answer
    return answer["choices"]


@contextlib.contextmanager
def load(server, expected, **changes):
    """Requests, one after another on two connections, as long as the block runs; all must give what is expected."""
    answers = []
    ending = threading.Event()

    def client():
        while not ending.is_set():
            answers.append(complete(server, **changes))

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ending.set()
        for thread in threads:
            thread.join(60)
    assert len(answers) > 2 and all(answer == expected for answer in answers)


@contextlib.contextmanager
def cluster(model, workers=0, *arguments, environment=None):
    """A coordinator and that many ready workers."""
    with contextlib.ExitStack() as stack:
        server = Server(model, *arguments, environment=environment)
        stack.callback(server.stop)
        server.workers = []
        for _ in range(workers):
            worker = ShoalProcess(
                "worker", "--join", server.endpoint, "--model", model, "--threads", "1", environment=environment
            )
            stack.callback(worker.stop)
            server.workers.append(worker)
        server.wait_until_ready(workers)
        yield server


def shoal(*arguments, environment=None, seconds=120):
    """Runs a `shoal` command to its end."""
    return subprocess.run(
        [SHOAL, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(environment or {})},
    )
