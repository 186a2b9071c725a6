import json
import os

import pytest
from processes import FIXTURES, SHOAL, processes


def pytest_configure(config):
    # A test that hangs is a test that failed.
    config.option.timeout = config.option.timeout or 300


def model_folders():
    return sorted(p.parent for p in (FIXTURES / "models").glob("*/config.json"))


@pytest.fixture(params=model_folders(), ids=lambda p: p.name, scope="session")
def each_model(request):
    return request.param


@pytest.fixture(scope="session")
def model():
    """One model is enough where the test is not about numbers."""
    return model_folders()[0]


@pytest.fixture(scope="session")
def long_model():
    """The one that knows most positions, for requests that run for a while."""
    return max(model_folders(), key=lambda p: json.loads((p / "config.json").read_text())["max_position_embeddings"])


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Nothing is written to the user's cache."""
    os.environ["SHOAL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running():
    yield
    left = processes(lambda command, _: command.startswith(SHOAL + " "))
    assert not left, f"processes left running: {left}"
