"""A cluster with keys, and those who try to get in without, or to stop it. It serves the same bytes through each."""

import contextlib
import os
import re
import socket
import stat
import time

import pytest
import zmq
from processes import Server, ShoalProcess, running, shoal
from test_cluster import complete, expected, load  # noqa: F401  `expected` is a fixture

GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)


class Keys:
    """Key pairs in a folder, and the coordinator's list of those that it admits."""

    def __init__(self, folder):
        self.folder = folder
        self.authorized = folder / "authorized"
        for name in ("coordinator", "worker", "mallory", "stranger"):
            assert shoal("keygen", folder / name).returncode == 0
        self.admit("worker", "mallory")

    def admit(self, *names):
        """At once, and nobody else."""
        draft = self.folder / "authorized.new"
        draft.write_text("# workers\n" + "".join((self.folder / f"{name}.pub").read_text() for name in names))
        draft.replace(self.authorized)

    def of(self, name):
        """(public, private) as ZeroMQ wants them."""
        return tuple(
            re.search(rf"shoal-{kind}-key (\S+)", (self.folder / f"{name}.{suffix}").read_text()).group(1).encode()
            for kind, suffix in (("public", "pub"), ("private", "key"))
        )

    @property
    def coordinator(self):
        return ["--key", self.folder / "coordinator.key", "--authorized", self.authorized]

    def worker(self, name):
        return ["--key", self.folder / f"{name}.key", "--coordinator-key", self.folder / "coordinator.pub"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


def worker(server, model, keys, name):
    return ShoalProcess(
        "worker", "--join", server.endpoint, "--model", model, "--threads", "1", *keys.worker(name)
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(model, keys):
    """A coordinator and a worker with keys, for all tests that leave them as they found them."""
    server = Server(model, *keys.coordinator)
    with running(server, worker(server, model, keys, "worker")):
        server.wait_until_ready(1)
        yield server
        server.wait_until_ready(1)
        assert all(member["failures"] == 0 for member in server.get("/cluster")[1]["workers"])


def ports(server):
    return [int(server.wait_for(rf"{name}=tcp://127\.0\.0\.1:(\d+)").group(1)) for name in ("endpoint", "data", "weights")]


def dropped(server, cause):
    return server.get("/cluster")[1]["dropped"].get(cause, 0)


@contextlib.contextmanager
def dealer(port, curve=None, server_key=None, plain=False):
    """A socket that tries to connect in some way, with what it sends waiting in a queue."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.linger = 0
    peer.identity = os.urandom(15).replace(b"\0", b"1") + b"1"
    if plain:
        peer.plain_username, peer.plain_password = b"root", b"root"
    if curve:
        peer.curve_publickey, peer.curve_secretkey = curve
        peer.curve_serverkey = server_key
    peer.connect(f"tcp://127.0.0.1:{port}")
    try:
        yield peer
    finally:
        context.destroy()


@pytest.mark.parametrize("attempt", ["null", "plain", "not authorised", "for another coordinator"])
def test_nobody_gets_a_word_in_without_an_authorised_key(server, expected, keys, attempt):
    ways = {
        "null": {},
        "plain": {"plain": True},
        "not authorised": {"curve": keys.of("stranger"), "server_key": keys.of("coordinator")[0]},
        "for another coordinator": {"curve": keys.of("worker"), "server_key": keys.of("stranger")[0]},
    }
    cause = "unauthorizedKey" if attempt == "not authorised" else "failedHandshake"
    before, unknown = dropped(server, cause), dropped(server, "unknownSender")
    with load(server, expected):
        for port in ports(server):
            with dealer(port, **ways[attempt]) as peer:
                # Once it has been turned away there is no queue to put anything in.
                with contextlib.suppress(zmq.Again):
                    for _ in range(100):
                        peer.send_multipart([os.urandom(40), b"x"], zmq.DONTWAIT)
                assert not peer.poll(500)
    # Only the control socket's connections are counted where it comes to no key.
    assert dropped(server, cause) > before
    assert dropped(server, "unknownSender") == unknown, "not one message arrived"


def test_garbage_and_half_open_handshakes_by_the_hundred(server, model, expected, keys):
    descriptors = f"/proc/{server.process.pid}/fd"
    usual = len(os.listdir(descriptors))
    starts = [b"", b"\xff", GREETING[:11], GREETING, GREETING + b"\x04\x26\x05HELLO" + bytes(32), os.urandom(64)]
    starts += [b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", GREETING + b"\x02" + b"\x7f" + b"\xff" * 7]
    with load(server, expected), contextlib.ExitStack() as stack:
        peers = []
        for index in range(300):
            for port in ports(server):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                with contextlib.suppress(OSError):
                    peer.sendall(starts[index % len(starts)])
                peers.append(peer)
        # Meanwhile those with a key come in as ever.
        begin = time.monotonic()
        late = stack.enter_context(running(worker(server, model, keys, "mallory")))[0]
        server.wait_until_ready(2, seconds=10)
        assert late.stop() == 0
        # Whoever has not proved a key after some seconds is put out, however many they are.
        while len(os.listdir(descriptors)) > usual + 20 and time.monotonic() < begin + 15:
            time.sleep(0.1)
        assert len(os.listdir(descriptors)) <= usual + 20
    server.wait_until_ready(1)


def test_oversized_frames_end_their_connection(server, expected, keys):
    key = {"curve": keys.of("mallory"), "server_key": keys.of("coordinator")[0]}
    with load(server, expected):
        for port in ports(server):
            with dealer(port, **key) as peer:
                monitor = peer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                peer.send(bytes(300_000_000))
                assert monitor.poll(10_000), "it was not cut off"


def test_who_is_admitted_and_talks_nonsense_disturbs_nobody(server, expected, keys):
    key = {"curve": keys.of("mallory"), "server_key": keys.of("coordinator")[0]}
    with load(server, expected):
        for port in ports(server):
            with dealer(port, **key) as peer:
                for _ in range(2000):
                    peer.send_multipart([os.urandom(20)] * 3)
                # It never reads the answers.
                time.sleep(0.3)
    assert len(server.get("/cluster")[1]["workers"]) == 1


def test_a_revoked_worker_is_cut_off_and_clients_see_nothing(model, expected, keys):
    server = Server(model, *keys.coordinator)
    names = ("worker", "mallory")
    with running(server, *(worker(server, model, keys, name) for name in names)) as (_, kept, revoked):
        server.wait_until_ready(2)
        with load(server, expected):
            keys.admit("worker")
            begin = time.monotonic()
            server.wait_until(lambda status: len(status["workers"]) == 1, seconds=5)
            assert time.monotonic() - begin < 2
            revoked.wait_for("its key is not authorised any more")
            revoked.wait_for("does not admit this worker's key.*add the worker's NAME.pub")
            server.wait_for("removed=mallory")
            server.wait_for("a connection was refused, for its key is not authorised.*shoal-public-key")
            server.wait_until_ready(1)
            keys.admit(*names)
            server.wait_until_ready(2, seconds=10)
        assert {"protection": "keys"}.items() <= server.get("/cluster")[1].items()
        assert not any("lost" in line for line in kept.lines)


@pytest.mark.parametrize("protected", [False, True], ids=["without-keys", "keys"])
@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", bytes(64)], ids=["http", "ssh", "zeros"]
)
def test_a_worker_joins_though_something_else_was_at_the_port_before(model, keys, protected, greeting):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        flags = keys.worker("worker") if protected else []
        joining = ShoalProcess(
            "worker", "--join", f"tcp://127.0.0.1:{port}", "--model", model, "--threads", "1", *flags
        )  # fmt: skip
        with running(joining):
            listener.settimeout(20)
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                time.sleep(0.5)
            listener.close()
            flags = keys.coordinator if protected else []
            server = Server(model, "--bind", f"tcp://127.0.0.1:{port}", *flags)
            with running(server):
                server.wait_until_ready(1, seconds=10)


def test_keygen_keeps_secrets_and_never_overwrites(tmp_path):
    result = shoal("keygen", tmp_path / "w")
    assert result.returncode == 0
    secret, public = tmp_path / "w.key", tmp_path / "w.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_text(), public.read_text()
    assert before[0].split()[-1] not in result.stdout and before[1].split()[1] in result.stdout
    again = shoal("keygen", tmp_path / "w")
    assert again.returncode == 1 and "never overwritten" in again.stderr
    assert (secret.read_text(), public.read_text()) == before


def test_a_private_key_that_others_can_read_is_refused(model, keys, tmp_path):
    exposed = tmp_path / "exposed.key"
    exposed.write_text((keys.folder / "worker.key").read_text())
    exposed.chmod(0o640)
    for arguments in (
        ["worker", "--join", "tcp://127.0.0.1:9", "--coordinator-key", keys.folder / "coordinator.pub"],
        ["serve", "--authorized", keys.authorized],
    ):
        result = shoal(*arguments, "--model", model, "--key", exposed)
        assert result.returncode == 1 and f"chmod 600 {exposed}" in result.stderr


def test_with_keys_any_address_is_bound(model, expected, keys):
    server = ShoalProcess(
        "serve", "--model", model, "--listen", "127.0.0.1:0", "--bind", "tcp://0.0.0.0:*", *keys.coordinator
    )  # fmt: skip
    with running(server):
        port = server.wait_for(r"endpoint=tcp://0\.0\.0\.0:(\d+)").group(1)
        server.wait_for(rf"shoal worker --join tcp://HOST:{port} --key FILE --coordinator-key '.{{40}}'$")
        server.endpoint = f"tcp://localhost:{port}"
        with running(worker(server, model, keys, "worker")) as (joining,):
            joining.wait_for("joined")
            server.wait_for(r"new placement.*workers=1")


def test_without_keys_any_address_is_bound_only_where_that_is_spelled_out(model):
    server = Server(model, "--insecure")
    with running(server):
        server.wait_for("warning INSECURE")
        server.wait_for(rf"shoal worker --join {server.endpoint} --model '{model}'$")
        assert "INSECURE" in shoal("status", "--url", server.url).stdout
    with running(Server(model, "--insecure", "--bind", "tcp://0.0.0.0:*")) as (server,):
        server.wait_for(r"shoal worker --join tcp://HOST:\d+ --insecure$")
    with running(ShoalProcess("worker", "--model", model, "--join", "tcp://127.0.0.1:9", "--insecure")) as (joining,):
        joining.wait_for("warning INSECURE")
