"""The command line as a user meets it."""

import json
import subprocess

import pytest
from processes import SHOAL, cluster, shoal

COMMANDS = ["up", "serve", "worker", "generate", "score", "inspect", "synthesize", "status", "bench", "keygen"]


def test_help_lists_every_command():
    result = shoal("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    result = shoal(command, "--help")
    assert result.returncode == 0
    assert f"Usage: shoal {command}" in result.stdout


def test_help_can_be_asked_for_in_two_ways():
    assert shoal("help", "serve").stdout == shoal("serve", "--help").stdout
    assert "Flags" not in shoal("keygen", "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_flags_are_usage_errors(command):
    result = shoal(command, "--frobnicate")
    assert result.returncode == 2
    assert "--frobnicate" in result.stderr


def test_near_misses_are_suggested():
    assert "did you mean --model?" in shoal("serve", "--modle", "x").stderr
    assert "did you mean serve?" in shoal("serv").stderr
    assert "did you mean exact?" in shoal("score", "--model", "x", "--tokens", "1", "--precision", "exat").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["score"],
        ["score", "--model"],
        ["score", "--model", "x", "--tokens", "1,x"],
        ["score", "--model", "x", "--tokens", "1", "--threads", "0"],
        ["worker"],
        ["synthesize", "--preset", "huge"],
        ["inspect", "a", "b"],
        ["inspect"],
        ["keygen"],
        ["keygen", "a", "b"],
        ["worker", "--join", "x", "--model", "x", "--key", "x"],
        ["serve", "--model", "x", "--authorized", "x"],
        ["serve", "--model", "x", "--key", "x", "--authorized", "x", "--insecure"],
        ["up", "--model", "x", "--key", "x"],
    ],
)
def test_usage_errors(arguments):
    result = shoal(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr.strip() and not result.stdout


def test_failures_exit_with_one_and_say_why(tmp_path):
    for arguments in (["score", "--tokens", "1"], ["generate", "--prompt", "x"], ["serve"]):
        result = shoal(*arguments, "--model", tmp_path / "absent")
        assert result.returncode == 1
        assert "config.json" in result.stderr


def test_what_is_no_checkpoint_is_named(model, tmp_path):
    for command in ("inspect", "serve"):
        flag = [] if command == "inspect" else ["--model"]
        for path, found in ((tmp_path / "absent", "there is no such folder"), (model / "config.json", "is a file")):
            result = shoal(command, *flag, path)
            assert result.returncode == 1
            assert f"{path}" in result.stdout + result.stderr and found in result.stdout + result.stderr


def test_output_that_cannot_be_written_is_a_failure(model):
    for arguments in (
        ["--help"],
        ["inspect", model],
        ["score", "--model", model, "--tokens", "1,2"],
        ["generate", "--model", model, "--prompt", "x", "--raw", "--max-tokens", "5"],
    ):
        with open("/dev/full", "w") as full:
            result = subprocess.run([SHOAL, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode == 1, result.stderr
        assert "standard output" in result.stderr


def test_a_log_that_cannot_be_written_ends_nothing(model):
    arguments = ["generate", "--model", model, "--prompt", "x", "--max-tokens", "20", "--seed", "1"]
    with open("/dev/full", "w") as full:
        result = subprocess.run([SHOAL, *map(str, arguments)], stdout=subprocess.PIPE, stderr=full, text=True)
    assert result.returncode == 0
    assert result.stdout == shoal(*arguments).stdout


def test_serving_says_at_once_how_to_talk_to_it(model):
    with cluster(model) as server:
        server.wait_for(r"curl http://127\.0\.0\.1:\d+/v1/chat/completions", seconds=10)


def test_flags_are_environment_variables_too(model):
    result = shoal("score", "--tokens", "1,2", environment={"SHOAL_MODEL": str(model), "SHOAL_PRECISION": "exact"})
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["positions"]) == 2
    # They are named when they are wrong, and no switch is on by mistake.
    for name, value in (("SHOAL_THREADS", "x"), ("SHOAL_KV_MEMORY", "much"), ("SHOAL_LOCAL_EXPERTS", "some"),
                        ("SHOAL_PIN", "maybe")):
        result = shoal("serve", "--model", model, environment={name: value})
        assert result.returncode == 2 and f"{name} is '{value}'" in result.stderr
    # The command line wins.
    result = shoal("score", "--tokens", "1", "--model", model, environment={"SHOAL_TOKENS": "5"})
    assert json.loads(result.stdout)["positions"][0]["token"] == 1


def test_inspect(each_model, tmp_path):
    result = shoal("inspect", each_model)
    assert result.returncode == 0 and "sound" in result.stdout
    report = json.loads(shoal("inspect", each_model, "--json").stdout)
    assert report["sound"] is True

    # A file cut short is refused by name.
    for file in each_model.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    result = shoal("inspect", tmp_path)
    assert result.returncode == 1
    assert shard.name in result.stdout + result.stderr
    assert json.loads(shoal("inspect", tmp_path, "--json").stdout)["sound"] is False


def test_synthesize(tmp_path):
    flags = ["--preset", "tiny", "--layers", "2", "--hidden", "64", "--intermediate", "64", "--seed", "3"]
    for folder in ("a", "b"):
        result = shoal("synthesize", *flags, "--out", tmp_path / folder)
        assert result.returncode == 0, result.stderr
    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("a", "b"))
    assert [p.name for p in first] == [p.name for p in second]
    assert all(p.read_bytes() == q.read_bytes() for p, q in zip(first, second))
    assert shoal("inspect", tmp_path / "a").returncode == 0
    assert shoal("synthesize", *flags, "--out", tmp_path / "a").returncode == 1, "a folder in use is not overwritten"
