"""A cluster that is broken for three minutes: each fault at least once, and every answer right.

`cluster/chaos/run --minutes N` does it for longer, and prints how long recovery took.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from processes import ROOT, SHOAL, processes

sys.path.append(str(ROOT / "cluster/chaos"))
from load import Attempt, Refused  # noqa: E402
from machines import Absence  # noqa: E402

MINUTES = 3
# A schedule that has each kind of fault early on, and a coordinator without experts of its own while all workers are gone.
SEED = 2


def environment(**variables):
    return {**os.environ, "SHOAL": str(pathlib.Path(SHOAL)), **variables}


@pytest.mark.timeout(MINUTES * 60 + 600)
def test_chaos(tmp_path):
    report = tmp_path / "chaos.json"
    command = [ROOT / "cluster/chaos/run", "--minutes", MINUTES, "--seed", SEED, "--json", report]
    chaos = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment())
    print(chaos.stdout)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    found = json.loads(report.read_text())
    assert found["requests"]["answered"] > 100 and len(found["faults"]) >= 20


ENDING = Refused('{"error": {"code": "shutting_down"}}', 503)


@pytest.mark.parametrize(
    "begin, sent, has_begun, error, orderly, abrupt",
    [
        # Accepted long before the end: only a process that is killed may break it off.
        (5, 5, False, ConnectionResetError(), False, True),
        (5, 5, True, ConnectionError(), False, True),
        (5, 5, False, ENDING, False, True),
        # As the end came, or later: turned away.
        (9.9, 9.9, False, ConnectionResetError(), True, True),
        (5, 9.9, False, ENDING, True, True),
        (11, 11, False, ENDING, True, True),
        (11, float("inf"), False, ConnectionRefusedError(), True, True),
        (12.1, float("inf"), False, ConnectionRefusedError(), True, True),
        # What was begun with has been accepted; and nothing explains what the server calls its own mistake.
        (11, 11, True, ConnectionResetError(), False, True),
        (11, 11, False, Refused("", 500), False, False),
        (11, 11, False, Refused('{"error": {"code": "experts_unavailable"}}', 503), False, False),
        (11, 11, False, TimeoutError(), False, True),
        # It is back.
        (13, float("inf"), False, ConnectionRefusedError(), False, False),
    ],
)
def test_what_an_absence_of_the_coordinator_excuses(begin, sent, has_begun, error, orderly, abrupt):
    attempt = Attempt("", {}, begin, False, None, sent=sent, has_begun=has_begun)
    for is_abrupt, expected in ((False, orderly), (True, abrupt)):
        absence = Absence(10, is_abrupt)
        absence.end = 12
        assert absence.explains(attempt, error) == expected


@pytest.mark.parametrize("arguments", [[], ["--proxy"]], ids=["namespaces", "proxy"])
def test_nothing_outlives_a_run_that_is_killed(tmp_path, arguments):
    def left():
        return processes(lambda command, _: str(tmp_path) in command)

    def is_up():
        return any("joined" in log.read_text() for log in tmp_path.glob("*/worker4.log"))

    def wait_until(condition, what):
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    chaos = subprocess.Popen(
        [ROOT / "cluster/chaos/run", *arguments, "--seed", str(SEED)], stdout=subprocess.DEVNULL,
        env=environment(TMPDIR=str(tmp_path)),
    )  # fmt: skip
    try:
        wait_until(is_up, "the last worker has not joined")
    finally:
        chaos.kill()
        chaos.wait()
    try:
        wait_until(lambda: not left(), "some are left")
    finally:
        for process in left():
            os.kill(process, signal.SIGKILL)
