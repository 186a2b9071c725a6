"""`shoal score` against the reference, and the same bytes whatever the cluster."""

import array
import json
import math

import pytest
from processes import shoal


def score(model, tokens, *arguments):
    result = shoal("score", "--model", model, "--tokens", ",".join(map(str, tokens)), *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def reference_prompts(model):
    return json.loads((model / "ref/reference.json").read_text())["prompts"]


def longest_prompt(model):
    return max((p["ids"] for p in reference_prompts(model)), key=len)[:100]


def test_exact_scores_agree_with_the_reference(each_model):
    for prompt in reference_prompts(each_model):
        positions = json.loads(score(each_model, prompt["ids"], "--precision", "exact", "--top", "20"))["positions"]
        assert [p["token"] for p in positions] == prompt["ids"]
        assert [p["position"] for p in positions] == list(range(len(positions)))
        assert positions[-1]["next_logprob"] is None
        for top in prompt["top20"]:
            found = positions[top["position"]]["top"]
            wanted = dict(zip(top["ids"], top["logprobs"]))
            assert len(found) == 20
            # The first half only: near the end, equals within the tolerance may have changed places with what was cut off.
            for entry in found[:10]:
                assert abs(entry["logprob"] - wanted[entry["id"]]) <= 5e-4
        for layer, chosen in enumerate(prompt.get("router_experts", [])):
            assert [p["experts"][layer] for p in positions] == chosen


@pytest.mark.parametrize("precision", ["exact", "bf16", "int8"])
def test_any_number_of_workers_gives_the_same_bytes(each_model, precision):
    tokens = longest_prompt(each_model)
    alone = score(each_model, tokens, "--precision", precision, "--top", "5")
    for workers in (1, 2, 3, 5):
        assert score(each_model, tokens, "--precision", precision, "--top", "5", "--workers", workers) == alone


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avxvnni", "avx512"])
def test_any_instruction_set_gives_the_same_bytes(each_model, isa):
    tokens = longest_prompt(each_model)
    for precision in ("exact", "bf16", "int8"):
        native = shoal("score", "--model", each_model, "--tokens", ",".join(map(str, tokens)), "--precision", precision)
        forced = shoal(
            "score", "--model", each_model, "--tokens", ",".join(map(str, tokens)), "--precision", precision,
            environment={"SHOAL_ISA": isa},
        )
        if "instruction set" in forced.stderr:
            pytest.skip(f"this processor lacks {isa}")
        assert forced.stdout == native.stdout and native.stdout


def test_bad_tokens_are_named(model):
    result = shoal("score", "--model", model, "--tokens", "1,99999999")
    assert result.returncode == 1 and "99999999" in result.stderr


def test_logits_are_written_for_every_position(model, tmp_path):
    tokens = longest_prompt(model)
    file = tmp_path / "logits"
    positions = json.loads(score(model, tokens, "--logits", file, "--top", "3"))["positions"]
    logits = array.array("f", file.read_bytes())
    vocabulary = len(logits) // len(tokens)
    assert vocabulary == json.loads((model / "config.json").read_text())["vocab_size"]
    for position in positions:
        row = logits[position["position"] * vocabulary :][:vocabulary]
        largest = max(row)
        total = largest + math.log(sum(math.exp(value - largest) for value in row))
        for entry in position["top"]:
            assert abs(row[entry["id"]] - total - entry["logprob"]) <= 1e-4


def test_a_file_for_logits_that_cannot_be_written_is_named(model, tmp_path):
    result = shoal("score", "--model", model, "--tokens", "1", "--logits", tmp_path / "missing/logits")
    assert result.returncode == 1 and "missing/logits" in result.stderr and "No such file" in result.stderr
