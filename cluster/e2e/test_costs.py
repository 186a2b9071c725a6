"""Costs that are counted, not timed: instructions of the kernels, allocations of a decoding step, bytes on the wire."""

import json
import os
import pathlib
import platform
import re
import shutil
import struct
import subprocess

import pytest
from processes import ROOT, Server, cluster

SOURCES = pathlib.Path(__file__).parent / "costs"


@pytest.fixture(scope="session")
def clang():
    return pathlib.Path(shutil.which("swift")).resolve().parent / "clang"


@pytest.fixture(scope="session")
def kernel_work(clang, tmp_path_factory):
    program = tmp_path_factory.mktemp("costs") / "kernel_work"
    kernels = ROOT / "Sources/Kernels"
    subprocess.run(
        [clang, "-std=gnu17", "-O2", "-I", kernels / "include", *kernels.glob("*.c"), SOURCES / "kernel_work.c",
         "-lm", "-lpthread", "-o", program],
        check=True,
    )  # fmt: skip
    return program


# Instructions in millions, with 3 % to spare for other compilers. Valgrind knows no AVX-512, so the widest is AVX2.
@pytest.mark.skipif(platform.machine() != "x86_64", reason="counts the instructions of x86 variants")
@pytest.mark.parametrize(
    "isa, work, tokens, most",
    [
        ("avx2", "mxfp4", 1, 0.151),
        ("avx2", "mxfp4", 4, 0.386),
        ("avx2", "mxfp4", 64, 4.37),
        ("avx2", "mxfp4_bf16", 1, 0.683),
        ("avx2", "mxfp4_bf16", 64, 13.22),
        ("avx2", "bf16", 1, 0.315),
        ("avx2", "q8", 1, 0.145),
        ("avx2", "q16", 1, 0.226),
        ("avx2", "q16", 64, 11.38),
        ("avx2", "attention", 16, 2.10),
        ("scalar", "mxfp4", 1, 3.01),
    ],
)
def test_instructions_of_kernels(kernel_work, tmp_path, isa, work, tokens, most):
    result = subprocess.run(
        ["valgrind", "--tool=callgrind", "--toggle-collect=measured", f"--callgrind-out-file={tmp_path / 'out'}",
         kernel_work, work, str(tokens)],
        env={**os.environ, "SHOAL_ISA": isa}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    millions = int(re.search(r"Collected : (\d+)", result.stderr).group(1)) / 1e6
    print(f"{isa} {work} {tokens}: {millions:.3f} million instructions")
    assert millions <= most


def complete(server, model, tokens):
    body = {"prompt": [1, 2, 3], "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "cache_salt": str(tokens)}
    status, answer = server.post("/v1/completions", body)
    assert status == 200 and answer["usage"]["completion_tokens"] == tokens


def per_token(server, model, count):
    """How much what `count` counts grows with each generated token."""
    counts = []
    for tokens in (32, 32, 96):  # the first warms up
        before = count()
        complete(server, model, tokens)
        counts.append(count() - before)
    return (counts[2] - counts[1]) / 64


# In all processes together, HTTP included. No layer adds any of Shoal's own; libzmq makes one for each large frame.
@pytest.mark.parametrize("workers, most", [(0, 26), (2, 33)])
def test_allocations_of_a_decoding_step(clang, model, tmp_path, workers, most):
    library, counter = tmp_path / "allocations.so", tmp_path / "count"
    subprocess.run([clang, "-O2", "-shared", "-fPIC", SOURCES / "allocations.c", "-o", library], check=True)
    counter.write_bytes(bytes(8))
    environment = {"LD_PRELOAD": str(library), "ALLOCATIONS": str(counter)}
    with cluster(model, workers, environment=environment) as server:
        allocations = per_token(server, model, lambda: struct.unpack("L", counter.read_bytes())[0])
    print(f"{workers} workers: {allocations:.1f} allocations a token")
    assert allocations <= most


def test_bytes_on_the_wire(model):
    """A row goes to each owner of its experts once, in int8 blocks with scales, and 8 bytes for each of its experts; each
    expert's row comes back in bfloat16."""
    config = json.loads((model / "config.json").read_text())
    layers, experts = config["num_hidden_layers"], config["num_experts_per_tok"]
    hidden = config["hidden_size"]
    row, assignments, back = -(-hidden // 32) * 34, experts * 8, hidden * 2

    with cluster(model, 2, "--replicas", 1, "--hedge", 0, "--local-experts", "spare") as server:

        def total(key):
            return sum(worker[key] for worker in server.get("/cluster")[1]["workers"])

        def counted(key):
            # What is given up on, because the machine paused, does not pass.
            for _ in range(5):
                before = total("failures")
                bytes = per_token(server, model, lambda: total(key))
                if total("failures") == before:
                    return bytes
            raise AssertionError(f"answers were given up on each time:\n{server.output}")

        assert counted("bytesReceived") == layers * experts * back
        sent = counted("bytesSent")
        assert layers * (row + assignments) <= sent <= layers * (2 * row + assignments)
