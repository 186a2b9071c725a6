"""Workers without a checkpoint: what they compute, what they fetch, what they keep, and what goes wrong on the way."""

import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess

import processes
import pytest
from processes import SHOAL, Server, ShoalProcess, running, shoal

def complete(server):
    return processes.complete(server, max_tokens=60)


@pytest.fixture(scope="module")
def expected(each_model):
    server = Server(each_model)
    with running(server):
        return complete(server)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint whose experts take a moment to fetch: 16 layers of 16 experts, 810 MB."""
    folder = tmp_path_factory.mktemp("large") / "model"
    made = shoal(
        "synthesize", "--preset", "tiny", "--layers", 16, "--experts", 16, "--hidden", 1408, "--intermediate", 1408,
        "--out", folder,
    )
    assert made.returncode == 0, made.stderr
    return folder


def worker(server, *arguments):
    """Without a cache, unless one is named."""
    return ShoalProcess(
        "worker", "--join", server.endpoint, "--threads", "1", *arguments, environment={"SHOAL_CACHE": ""}
    )


def fetched(process):
    """(bytes of the experts, bytes that came over the network), once they are all here."""
    match = process.wait_for(r"the experts are here.*bytes=(\d+).*received=(\d+)")
    return int(match.group(1)), int(match.group(2))


def files(cache):
    return sorted(pathlib.Path(cache).glob("experts/*/*.expert"))


def test_a_worker_without_checkpoint_computes_the_same_bytes(each_model, expected):
    server = Server(each_model, "--local-experts", "none")
    with running(server), running(worker(server)) as (first,):
        server.wait_until_ready(1)
        wanted, received = fetched(first)
        assert 0 < wanted <= received
        assert complete(server) == expected
        with running(worker(server), worker(server, "--model", each_model)):
            server.wait_until_ready(3)
            assert complete(server) == expected
        member = server.get("/cluster")[1]["workers"][0]
        assert member["loadedBytes"] == member["wantedBytes"] == wanted and member["weightsReceived"] >= received


def test_a_second_start_transfers_nothing(model, tmp_path):
    server = Server(model, "--local-experts", "none")
    with running(server):
        for start in range(3):
            with running(worker(server, "--cache", tmp_path)) as (process,):
                server.wait_until_ready(1)
                wanted, received = fetched(process)
                assert received == 0 if start else received >= wanted
                complete(server)
        assert sum(file.stat().st_size - 4096 for file in files(tmp_path)) == wanted
        assert not list(tmp_path.glob("experts/*/*.partial"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "swapped", "header"])
def test_a_damaged_file_of_the_cache_is_fetched_again(model, tmp_path, damage):
    server = Server(model, "--local-experts", "none")
    with running(server):
        with running(worker(server, "--cache", tmp_path)):
            server.wait_until_ready(1)
            before = complete(server)
        victim, other = files(tmp_path)[:2]
        data = bytearray(victim.read_bytes())
        if damage == "flipped":
            data[-5] ^= 16
        elif damage == "cut":
            del data[-100:]
        elif damage == "longer":
            data += b"\0"
        elif damage == "swapped":
            data = bytearray(other.read_bytes())
        else:
            data[20] ^= 1
        victim.write_bytes(data)
        with running(worker(server, "--cache", tmp_path)) as (process,):
            server.wait_until_ready(1)
            _, received = fetched(process)
            assert 0 < received < 2 * len(data)
            assert victim.name in process.wait_for("damaged.*").group(0)
            assert complete(server) == before
        assert len({file.stat().st_size for file in files(tmp_path)}) == 1


def test_a_killed_worker_goes_on_where_it_was(large, tmp_path):
    server = Server(large, "--local-experts", "none")
    with running(server):
        process = worker(server, "--cache", tmp_path)
        with running(process):
            server.wait_until(
                lambda status: any(w["loadedBytes"] > w["wantedBytes"] // 10 for w in status["workers"]),
                what="a tenth of the experts")
            process.process.kill()
            process.wait()
        kept = sum(file.stat().st_size for file in files(tmp_path))
        with running(worker(server, "--cache", tmp_path)) as (again,):
            server.wait_until_ready(1)
            wanted, received = fetched(again)
            assert 0 < received <= wanted * 1.01 - kept
            server.wait_for(r"worker is gone")


def test_the_coordinator_may_restart_in_the_middle(large, tmp_path):
    server = Server(large, "--local-experts", "none")
    with running(server):
        with running(worker(server)) as (process,):
            server.wait_until(
                lambda status: any(w["loadedBytes"] > w["wantedBytes"] // 10 for w in status["workers"]),
                what="a tenth of the experts")
            process.signal(signal.SIGSTOP)
            server.process.kill()
            server.wait()
            again = Server(large, "--local-experts", "none", "--bind", server.endpoint)
            with running(again):
                process.signal(signal.SIGCONT)
                again.wait_until_ready(1)
                wanted, received = fetched(process)
                assert 0 < received < wanted * 0.95
                alone = Server(large)
                with running(alone):
                    assert complete(again) == complete(alone)


def test_clients_see_nothing_of_a_transfer(large, tmp_path):
    server = Server(large)
    with running(server):
        expected = complete(server)
        with processes.load(server, expected, max_tokens=60) as answers, contextlib.ExitStack() as stack:
            stack.enter_context(running(worker(server, "--memory", "200M"), worker(server, "--memory", "100M")))
            server.wait_until_ready(2, seconds=120)
            count = len(answers)
            while len(answers) < count + 4:
                server.get("/health")
        assert all(w["failures"] == 0 for w in server.get("/cluster")[1]["workers"])


def test_workers_that_could_not_hold_the_model_share_it(large):
    server = Server(large, "--local-experts", "none")
    with running(server), contextlib.ExitStack() as stack:
        total = server.get("/cluster")[1]["experts"]
        for _ in range(3):
            stack.enter_context(running(worker(server, "--memory", "360M")))
        status = server.wait_until(
            lambda status: len(status["workers"]) == 3 and status["unownedExperts"] == 0
            and sum(w["experts"] for w in status["workers"]) > total,
            what="every expert with a worker, and what there is room for with two", seconds=120)
        for member in status["workers"]:
            assert member["loadedBytes"] == member["wantedBytes"] <= 360 * 2**20
            assert member["wantedBytes"] // member["experts"] * total > 360 * 2**20, "it could not hold the model"
        complete(server)


def limited_worker(server, cache, bytes):
    """A worker that may write no file beyond that size, as if the disk were full."""
    return subprocess.Popen(
        [SHOAL, "worker", "--join", server.endpoint, "--threads", "1", "--cache", cache],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes)),
    )


def test_a_file_that_cannot_grow_is_survived(model, tmp_path):
    server = Server(model, "--local-experts", "none")
    with running(server):
        process = limited_worker(server, tmp_path, 8192)
        try:
            server.wait_until_ready(1)
            complete(server)
        finally:
            process.terminate()
            output = process.communicate(timeout=30)[0]
        assert "held in memory alone" in output and process.returncode == 0
        assert not files(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_survived(model, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        server = Server(model, "--local-experts", "none")
        with running(server):
            for _ in range(2):
                with running(worker(server, "--cache", tmp_path)) as (process,):
                    server.wait_until_ready(1)
                    process.wait_for("held in memory alone.*No space left")
                    complete(server)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_the_cache_keeps_to_its_size_and_drops_what_was_used_first(model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    for file in other.glob("*.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    cache = tmp_path / "cache"
    sizes = []
    for checkpoint in (model, other, other):
        server = Server(checkpoint, "--local-experts", "none")
        with running(server):
            limit = ["--cache-size", str(int(sizes[0] * 1.5))] if sizes else []
            with running(worker(server, "--cache", cache, *limit)) as (process,):
                server.wait_until_ready(1)
                _, received = fetched(process)
            sizes.append(sum(file.stat().st_size for file in cache.glob("experts/*/*")))
    assert received == 0, "what was used last is what is kept"
    assert sizes[0] < sizes[1] == sizes[2] <= sizes[0] * 1.5
    assert len(list(cache.glob("experts/*"))) == 2


def test_status_shows_how_far_a_worker_is(large):
    server = Server(large)
    with running(server), running(worker(server)) as (process,):
        server.wait_until(lambda status: any(w["loadedBytes"] > 0 for w in status["workers"]), what="a beginning")
        process.signal(signal.SIGSTOP)
        text = shoal("status", "--url", server.url).stdout
        assert re.search(r"loading \([\d.]+ [KMG]iB of [\d.]+ [KMG]iB\)", text), text


def test_a_size_without_a_cache_is_a_usage_error():
    result = shoal(
        "worker", "--join", "tcp://127.0.0.1:9", "--cache-size", "1G", environment={"SHOAL_CACHE": ""})
    assert result.returncode == 2 and "--cache-size needs --cache" in result.stderr


def test_a_cache_that_would_not_be_used_is_a_usage_error(model, tmp_path):
    result = shoal("worker", "--join", "tcp://127.0.0.1:9", "--model", model, "--cache", tmp_path)
    assert result.returncode == 2 and "--cache is for workers without --model" in result.stderr


def test_a_folder_that_cannot_be_a_cache_is_refused_with_the_systems_reason(model):
    result = shoal("worker", "--join", "tcp://127.0.0.1:9", "--cache", model / "config.json")
    assert result.returncode == 1 and "Not a directory" in result.stderr
