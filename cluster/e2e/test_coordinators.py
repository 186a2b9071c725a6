"""Several coordinators over the same workers, as processes."""

import contextlib
import signal
import threading

import pytest
from processes import Server, ShoalProcess, cluster, complete, load, running, shoal


@pytest.fixture(scope="module")
def expected(model):
    with cluster(model) as server:
        return complete(server)


def worker(servers, *arguments):
    return ShoalProcess(
        "worker", "--join", ",".join(server.endpoint for server in servers), "--threads", "1", *arguments)


@contextlib.contextmanager
def shared(model, *arguments, coordinators=2, workers=2):
    """Coordinators without experts of their own, and workers that all of them share."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running(Server(model, "--local-experts", "none")))[0] for _ in range(coordinators)]
        for _ in range(workers):
            stack.enter_context(running(worker(servers, *arguments)))
        for server in servers:
            server.wait_until_ready(workers)
        yield servers


def failures(server):
    return sum(member["failures"] for member in server.get("/cluster")[1]["workers"])


@pytest.mark.parametrize("has_checkpoint", [True, False], ids=["checkpoint", "wire"])
def test_each_answers_as_if_alone(model, expected, has_checkpoint):
    arguments = ["--model", model] if has_checkpoint else []
    with shared(model, *arguments) as servers:
        with load(servers[0], expected) as first, load(servers[1], expected) as second:
            while min(len(first), len(second)) < 8:
                servers[0].get("/health")
        assert failures(servers[0]) == failures(servers[1]) == 0


def bother(server):
    """Requests as long as there is somebody to answer them."""
    with contextlib.suppress(OSError):
        while True:
            complete(server)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda n: n.name)
def test_the_end_of_one_is_nothing_to_the_other(model, expected, number):
    with shared(model, "--model", model) as (first, second), contextlib.ExitStack() as stack:
        with load(second, expected) as answers:
            client = threading.Thread(target=bother, args=[first])
            client.start()
            for _ in range(2):
                count = len(answers)
                while len(answers) < count + 6:
                    second.get("/health")
                first.signal(number)
            first.process.kill()
            first.wait()
            client.join(60)
            again = Server(model, "--local-experts", "none", "--bind", first.endpoint)
            stack.enter_context(running(again))
            again.wait_until_ready(2)
            assert complete(again) == expected
        members = second.get("/cluster")[1]["workers"]
        assert len(members) == 2 and failures(second) == 0


def test_each_has_its_own_keys(model, expected, tmp_path):
    for name in ("first", "second", "worker"):
        assert shoal("keygen", tmp_path / name).returncode == 0
    keys = ["--authorized", tmp_path / "worker.pub"]
    servers = [Server(model, "--local-experts", "none", "--key", tmp_path / f"{name}.key", *keys)
               for name in ("first", "second")]
    with running(*servers):
        joining = ["--key", tmp_path / "worker.key", "--model", model, "--coordinator-key"]
        with running(worker(servers, *joining, f"{tmp_path}/first.pub,{tmp_path}/second.pub")):
            for server in servers:
                server.wait_until_ready(1)
                assert complete(server) == expected
        for server in servers:
            server.wait_until(lambda status: not status["workers"], what="no worker")
        with running(worker(servers, *joining, f"{tmp_path}/first.pub,{tmp_path}/first.pub")) as (wrong,):
            servers[0].wait_until_ready(1)
            wrong.wait_for("cannot join")
            assert not servers[1].get("/cluster")[1]["workers"]


def test_another_model_is_refused_by_its_coordinator_alone(each_model, model, expected):
    if each_model == model:
        pytest.skip("the same")
    with running(Server(each_model), Server(model, "--local-experts", "none")) as (other, server):
        with running(worker([other, server], "--model", model)) as (process,):
            server.wait_until_ready(1)
            process.wait_for("refused this worker")
            assert complete(server) == expected
        # Without a checkpoint of its own it computes for both.
        with running(worker([other, server])):
            other.wait_until_ready(1)
            server.wait_until_ready(1)
            assert complete(server) == expected


@pytest.mark.parametrize("arguments, complaint", [
    (["--join", "tcp://127.0.0.1:1,tcp://127.0.0.1:1"], "twice"),
    (["--join", "tcp://127.0.0.1:1,"], "not an endpoint"),
    (["--join", "tcp://127.0.0.1:1,tcp://127.0.0.1:2", "--coordinator-key", "a.pub", "--key", "b"], "as many"),
])  # fmt: skip
def test_lists_that_make_no_sense(arguments, complaint):
    result = shoal("worker", *arguments)
    assert result.returncode != 0 and complaint in result.stderr
