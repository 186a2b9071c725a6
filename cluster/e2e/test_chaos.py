"""A cluster that is broken for three minutes: each fault at least once, and every answer right.

`cluster/chaos/run --minutes N` does it for longer, and prints how long recovery took.
"""

import json
import os
import pathlib
import subprocess

import pytest
from processes import ROOT, SHOAL

MINUTES = 3
# A schedule that has each kind of fault early on, and a coordinator without experts of its own while all workers are gone.
SEED = 2


@pytest.mark.timeout(MINUTES * 60 + 600)
def test_chaos(tmp_path):
    report = tmp_path / "chaos.json"
    command = [ROOT / "cluster/chaos/run", "--minutes", MINUTES, "--seed", SEED, "--json", report]
    chaos = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env={**os.environ, "SHOAL": str(pathlib.Path(SHOAL))}
    )
    print(chaos.stdout)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    found = json.loads(report.read_text())
    assert found["requests"]["answered"] > 100 and len(found["faults"]) >= 20
