"""Workers that come, go, stall and lie, as processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import time

import pytest
from processes import REQUEST, Server, ShoalProcess, cluster, complete, load, processes, running, shoal

@pytest.fixture(scope="module")
def expected(model):
    with cluster(model) as server:
        return complete(server)


def worker(server, model, *arguments):
    return ShoalProcess("worker", "--join", server.endpoint, "--model", model, "--threads", "1", *arguments)


def test_a_worker_says_what_is_wrong_with_the_address_that_it_was_given(model):
    with cluster(model) as server:
        port = int(server.endpoint.rsplit(":", 1)[1])
        data = int(server.wait_for(r"data=tcp://127\.0\.0\.1:(\d+)").group(1))
        assert data != port
        wrong = f"tcp://127.0.0.1:{data}"
        with running(
            ShoalProcess("worker", "--model", model, "--join", wrong),
            ShoalProcess("worker", "--model", model, "--join", "tcp://no..where:7070", "--insecure"),
        ) as (silent, nameless):
            nameless.wait_for("the coordinator's name cannot be resolved; trying on.*reason=", seconds=60)
            silent.wait_for("from the start; --join must name the port of its --bind")


def test_workers_may_start_before_the_coordinator(model, expected):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"tcp://127.0.0.1:{port}"
    first = ShoalProcess("worker", "--join", endpoint, "--model", model, "--threads", "1")
    with running(first):
        time.sleep(1)
        assert first.process.poll() is None
        server = Server(model, "--bind", endpoint)
        with running(server):
            server.wait_until_ready(1)
            assert complete(server) == expected


def test_workers_join_and_leave_while_requests_run(model, expected):
    with cluster(model) as server, load(server, expected):
        for _ in range(3):
            with running(worker(server, model)) as (joined,):
                server.wait_until_ready(1)
                time.sleep(0.3)
                assert joined.stop() == 0
            server.wait_until_ready(0)


@pytest.mark.parametrize("local", ["share", "spare"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM], ids=lambda n: n.name)
def test_a_worker_that_dies_or_stalls_changes_nothing(model, expected, number, local):
    with cluster(model, 2, "--local-experts", local) as server:
        with load(server, expected):
            time.sleep(0.3)
            server.workers[0].signal(number)
            server.wait_until_ready(1)
        assert server.get("/ready")[0] == 200


def test_without_local_experts_nothing_is_served_until_workers_own_all(model, expected):
    server = Server(model, "--local-experts", "none", "--recovery-timeout", 1)
    with running(server):
        assert server.get("/health")[0] == 200
        assert server.get("/ready")[0] == 503
        status, answer = server.post("/v1/completions", REQUEST)
        assert status == 503 and answer["error"]["message"]
        assert " with nobody, " in shoal("status", "--url", server.url).stdout
        with running(worker(server, model), worker(server, model)) as workers:
            server.wait_until_ready(2)
            assert complete(server) == expected

            def replicated(status):
                return all(worker["experts"] == status["experts"] for worker in status["workers"])

            server.wait_until(replicated, what="each to hold everything")
            workers[0].process.kill()
            assert complete(server) == expected, "the other one has replicas"
            # Its share moves to the other one.
            server.wait_until_ready(1)
            assert complete(server) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_requests_wait_for_experts_that_come_back(model, expected, number):
    server = Server(model, "--local-experts", "none")
    with running(server, worker(server, model)) as (_, first), contextlib.ExitStack() as stack:
        server.wait_until_ready(1)
        with load(server, expected):
            time.sleep(0.2)
            first.signal(number)
            server.wait_until(lambda status: not status["workers"], what="no worker")
            assert server.get("/health")[0] == 200 and server.get("/ready")[0] == 503
            stack.enter_context(running(worker(server, model)))
            server.wait_until_ready(1)
            assert complete(server) == expected


def test_the_coordinator_comes_back_and_its_workers_with_it(model, expected):
    server = Server(model)
    endpoint = server.endpoint
    with running(server):
        joined = worker(server, model)
        with running(joined):
            server.wait_until_ready(1)
            server.process.kill()
            server.wait()
            again = Server(model, "--bind", endpoint)
            with running(again):
                again.wait_until_ready(1)
                assert complete(again) == expected


def test_memory_bounds_what_a_worker_owns(model, expected):
    with cluster(model) as server:
        with running(worker(server, model, "--memory", "100K")):
            server.wait_until_ready(1)
            status = server.get("/cluster")[1]
            assert 0 < status["workers"][0]["experts"] < status["experts"]
            assert complete(server) == expected
        with running(worker(server, model, "--memory", "8")) as (tiny,):
            tiny.wait_for("this worker has no memory for any expert.*memory=8 bytes")
            server.wait_for("the worker has no memory for any expert.*memory=8 bytes")
        server.wait_until_ready(0)
        with running(worker(server, model)):
            server.wait_until_ready(1)
            budget = server.get("/cluster")[1]["workers"][0]["memoryBudget"]
            assert budget < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "what the machine can spare"


def test_a_worker_with_another_checkpoint_is_refused_with_a_reason(model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    for file in other.glob("*.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    with cluster(model) as server:
        stranger = worker(server, other)
        assert stranger.wait(60) == 1
        assert "digest" in stranger.output and "refused" in stranger.output
        server.wait_for("digest")
        assert not server.get("/cluster")[1]["workers"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--bind", "tcp://0.0.0.0:7070"],
        ["serve", "--bind", "tcp://*:7070"],
        ["serve", "--listen", "0.0.0.0:8080"],
        ["serve", "--listen", "[::]:8080"],
        ["worker", "--join", "tcp://192.0.2.1:7070"],
    ],
    ids=lambda a: a[-1],
)
def test_nothing_reaches_beyond_loopback(model, arguments):
    result = shoal(*arguments, "--model", model, seconds=60)
    assert result.returncode != 0
    assert "beyond" in result.stderr or "only loopback" in result.stderr


def test_noise_on_the_cluster_port_is_survived(model, expected):
    with cluster(model, 1) as server:
        port = int(server.endpoint.rsplit(":", 1)[1])
        for target in (port, port + 1, int(server.url.rsplit(":", 1)[1])):
            for noise in (b"\x00" * 1000, os.urandom(5000), b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target), 5) as peer:
                    peer.sendall(noise)
        assert complete(server) == expected


def test_up_starts_workers_and_leaves_nothing_behind(model, expected):
    for number in (signal.SIGINT, signal.SIGKILL):
        # Keys in the environment are for workers elsewhere.
        server = Server(model, "--workers", "2", command="up", environment={"SHOAL_KEY": "x", "SHOAL_COORDINATOR_KEY": "x"})
        with running(server):
            server.wait_until_ready(2)
            server.wait_for("ready  workers=2")
            assert complete(server) == expected
            children = processes(lambda _, parent: parent == server.process.pid)
            assert len(children) == 2
            server.signal(number)
            server.wait()
            deadline = time.monotonic() + 20
            while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not any(os.path.exists(f"/proc/{child}") for child in children), server.output


def test_a_request_to_end_is_heeded_at_any_moment(model):
    for delay in range(0, 60, 3):
        process = ShoalProcess("worker", "--join", "tcp://127.0.0.1:9", "--model", model)
        time.sleep(delay / 1000)
        process.signal(signal.SIGTERM)
        process.wait(10)


def test_generate_is_the_same_whatever_the_cluster(model):
    arguments = ["generate", "--model", model, "--prompt", "Hello", "--max-tokens", "40", "--seed", "5"]
    alone = shoal(*arguments)
    assert alone.returncode == 0, alone.stderr
    assert shoal(*arguments, "--workers", "2").stdout == alone.stdout
    raw = shoal(*arguments, "--raw")
    assert raw.returncode == 0 and raw.stdout.strip()


def test_a_worker_that_is_killed_once_is_back_at_once_and_a_flapping_one_is_held_off(model, expected):
    with cluster(model) as server:
        for deaths in range(1, 5):
            one = worker(server, model)
            with running(one):
                server.wait_until_ready(1)
                assert deaths > 2 or "held off" not in server.output
                one.process.kill()
                server.wait_until(lambda status: not status["workers"], what="no worker")
        begin = time.monotonic()
        with running(worker(server, model)):
            held = server.wait_until(lambda status: status["workers"], what="a member")
            assert held["workers"][0]["hold"] == "flapping" and held["holdOffs"][0]["deaths"] == 4
            assert complete(server) == expected
            text = shoal("status", "--url", server.url).stdout
            assert "held (flapping" in text and "held off: " in text and "4 deaths in a row" in text
            server.wait_until_ready(1)
            assert time.monotonic() - begin > 3
            assert complete(server) == expected


def test_a_pause_of_the_whole_machine_costs_no_worker(model, expected):
    with cluster(model, 2) as server:
        everyone = [server, *server.workers]
        for number, seconds in ((signal.SIGSTOP, 5), (signal.SIGCONT, 1)):
            for process in everyone:
                process.process.send_signal(number)
            time.sleep(seconds)
        assert "worker is gone" not in server.output
        assert not any("lost the coordinator" in one.output for one in server.workers)
        assert complete(server) == expected


def test_status_shows_the_members(model):
    with cluster(model, 2) as server:
        complete(server)
        server.wait_until(lambda status: status["hottest"], what="rows counted, every ten seconds")
        result = shoal("status", "--url", server.url, "--placement")
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert all(len(line) <= 100 for line in lines), result.stdout
        assert result.stdout.count(" ready ") >= 2 and "(auto)" in lines[0]
        assert any(line.startswith("hottest") for line in lines)
        assert sum(line.endswith(" holds") for line in lines) == 2
        status = json.loads(shoal("status", "--url", server.url, "--json").stdout)
        metrics = server.metrics()
        assert metrics["cluster_ready"] == 1 and metrics['cluster_workers{state="ready"}'] == 2
        assert metrics["cluster_epoch"] == status["epoch"] and metrics["cluster_replicas"] == status["replicas"]
        assert status["sharesWork"] and "a share of every batch" in lines[1]
        assert metrics["cluster_own_rows_total"] == status["rowsComputedHere"] > 0
        for one in status["workers"]:
            labels = f'{{worker="{one["name"]}",id="{one["id"]}"}}'
            assert metrics["worker_batches_total" + labels] == one["batches"] > 0
            assert metrics["worker_experts" + labels] == one["experts"]
        assert len(status["workers"]) == 2 and status["replication"] == "auto" and status["holdOffs"] == []
        assert all(len(w["holdings"]) > 0 and w["share"] == 0.5 for w in status["workers"])
        assert all(0 < expert["share"] <= 1 and expert["copies"] >= 1 for expert in status["hottest"])
    result = shoal("status", "--url", server.url)
    assert result.returncode == 1 and "no answer" in result.stderr


@pytest.mark.parametrize("replicas,copies", [("1", 1), ("2", 2), ("auto", 2)])
def test_replicas(model, replicas, copies):
    with cluster(model, 3, "--replicas", replicas) as server:
        server.wait_until(
            lambda status: sum(w["experts"] for w in status["workers"]) == copies * status["experts"],
            what=f"{copies} copies",
        )


@pytest.mark.parametrize("flag", ["--replicas", "--hedge"])
def test_numbers_that_may_be_automatic(model, flag):
    wrong = shoal("serve", "--model", model, flag, "some")
    assert wrong.returncode == 2 and f"{flag} is 'some'; expected auto, or a" in wrong.stderr


def test_logs_as_json(model):
    server = Server(model, "--log-format", "json")
    with running(server):
        complete(server)
    lines = [json.loads(line) for line in server.lines if line.startswith("{")]
    assert {"time", "level", "message"} <= set(lines[0])
    assert any(line.get("path") == "/v1/completions" and line["status"] == "200" for line in lines)
