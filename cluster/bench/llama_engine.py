"""llama.cpp, started and measured for cluster/bench/against-llama-cpp."""

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

from processes import request
from serving import Bench
from workload import (
    ANSWER,
    CLIENTS,
    CLUSTER_PROMPT,
    LLAMA_DEPTHS,
    PROMPT,
    PROMPTS,
    THREADS,
    WORKER_THREADS,
    serve,
)


def commas(numbers):
    return ",".join(map(str, numbers))


def await_listening(process, log, is_ready):
    """Returns when the process is ready; ends all where it has ended or ten minutes have gone by."""
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if is_ready():
                return
        time.sleep(0.2)
    sys.exit(f"{process.args[0]} did not become ready; {log} tells why")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def listening(command, log, is_ready):
    """Runs a server until the end of the block."""
    with open(log, "w") as file:
        process = subprocess.Popen([str(word) for word in command], stdout=file, stderr=subprocess.STDOUT)
    try:
        await_listening(process, log, is_ready)
        yield
    finally:
        process.terminate()
        process.wait()


class LlamaCpp:
    """llama-bench and llama-server with their defaults, but for flash attention: on or off, whichever is faster.
    Weights are read, not mapped: what two engines map does not fit into the memory of many a machine."""

    name = "llama.cpp"

    def __init__(self, folder, logits, model, out):
        self.cache, self.programs, self.logits, self.out = folder, folder / "bin", logits, out / "llama.cpp"
        self.out.mkdir(parents=True, exist_ok=True)
        self.gguf = self.converted(model)
        self.common = ["--model", self.gguf, "--load-mode", "none"]

    def converted(self, model):
        """The checkpoint as GGUF, made once: experts as they are, attention, embeddings and output in Q8_0."""
        files = [(file, file.stat()) for file in sorted(model.glob("*.safetensors"))]
        identity = "".join(f"{file} {stat.st_size} {int(stat.st_mtime)}\n" for file, stat in files)
        gguf = self.cache / f"{model.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.gguf"
        if gguf.exists():
            return gguf
        part, log = gguf.with_suffix(".part"), self.cache / "convert.log"
        print(f"==> converting {model} to GGUF; {log} tells more", flush=True)
        source = self.cache / "source/vendor/llama.cpp"
        converter = pathlib.Path(__file__).with_name("to_gguf.py")
        with open(log, "w") as output:
            status = subprocess.run(
                [sys.executable, converter, model, "--outtype", "q8_0", "--outfile", part],
                env={**os.environ, "PYTHONPATH": f"{source}:{source}/gguf-py"}, stdout=output, stderr=output,
            ).returncode  # fmt: skip
        if status != 0:
            sys.exit(f"{model} could not be converted; {log} tells why")
        part.rename(gguf)
        return gguf

    def choose_flash_attention(self):
        """By a trial, for each section: the better at what it does. Returns which."""
        found = {}
        for result in self.bench("trial", "--threads", THREADS, "--flash-attn", "0,1", "-p", 512, "-n", ANSWER):
            found[result["flash_attn"] == 1, result["n_gen"] > 0] = result["avg_ts"]
        seconds = {
            "prefill": lambda on: 1 / found[on, False],
            "decode": lambda on: 1 / found[on, True],
            "serving": lambda on: PROMPT / found[on, False] + ANSWER / found[on, True],
            "cluster": lambda on: CLUSTER_PROMPT / found[on, False] + ANSWER / found[on, True],
        }
        self.flash = {section: "on" if of(True) < of(False) else "off" for section, of in seconds.items()}
        shown = ", ".join(f"{value} for {section}" for section, value in self.flash.items())
        print(f"llama.cpp's flash attention: {shown}", flush=True)
        return self.flash

    def bench(self, name, *flags):
        command = [self.programs / "llama-bench", *self.common, "--repetitions", 1, "--output", "json", *flags]
        with open(self.out / f"{name}.log", "w") as log:
            run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=log, text=True)
        if run.returncode != 0:
            sys.exit(f"llama-bench failed; {log.name} tells why")
        (self.out / f"{name}.json").write_text(run.stdout)
        return json.loads(run.stdout)

    @contextlib.contextmanager
    def server(self, slots):
        """The address of llama-server with so many slots, each with room for one request. It has no cache of finished
        prompts to fill: none comes twice."""
        port = free_port()
        command = [
            self.programs / "llama-server", *self.common, "--threads", THREADS, "--flash-attn", self.flash["serving"],
            "--parallel", slots, "--ctx-size", slots * 2 * (PROMPT + ANSWER), "--cache-ram", 0,
            "--host", "127.0.0.1", "--port", port,
        ]  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        with listening(command, self.out / f"server-{slots}.log", lambda: request(url + "/health")[0] == 200):
            yield url

    @contextlib.contextmanager
    def workers(self, count):
        """The addresses of so many RPC servers, which share the threads."""
        with contextlib.ExitStack() as stack:
            ports = []
            for number in range(count):
                port = free_port()
                command = [self.programs / "ggml-rpc-server", "--threads", WORKER_THREADS, "--port", port]

                def is_ready(address=("127.0.0.1", port)):
                    socket.create_connection(address).close()
                    return True

                stack.enter_context(listening(command, self.out / f"worker-{number}.log", is_ready))
                ports.append(port)
            yield [f"127.0.0.1:{port}" for port in ports]

    def measure(self, sections):
        if "prefill" in sections:
            flags = ["--threads", THREADS, "--flash-attn", self.flash["prefill"]]
            for result in self.bench("prefill", *flags, "-p", commas(PROMPTS), "-n", 0):
                yield ("prefill", result["n_prompt"], "prompt"), result["avg_ts"]
        if "decode" in sections:
            flags = ["--threads", THREADS, "--flash-attn", self.flash["decode"], "--n-depth", commas(LLAMA_DEPTHS)]
            for result in self.bench("decode", *flags, "-p", 0, "-n", ANSWER):
                yield ("decode", result["n_depth"], "decode"), result["avg_ts"]
        for clients in CLIENTS if "serving" in sections else ():
            with self.server(clients) as url:
                yield from serve(Bench(url, self.out), clients)

    def speeds(self, workers):
        """Tokens a second of prefill and of decoding one sequence."""
        with self.workers(workers) as addresses:
            # With workers little is left to this process: its threads would take the workers' cores.
            flags = ["--rpc", commas(addresses), "--threads", 1] if addresses else ["--threads", THREADS]
            shape = ["--flash-attn", self.flash["cluster"], "-p", CLUSTER_PROMPT, "-n", ANSWER]
            results = self.bench(f"workers-{workers}", *flags, *shape)
        return {"decode" if result["n_gen"] else "prefill": result["avg_ts"] for result in results}

    def write_logits(self, gguf, ids, file):
        """Those at every position, as float32."""
        with open(file, "wb") as output:
            command = [self.logits, gguf, str(THREADS)]
            subprocess.run(command, input=commas(ids).replace(",", " ").encode(), stdout=output, check=True)
