"""The official OpenAI client against a coordinator and three workers; the same bytes as without any worker."""

import concurrent.futures
import json
import time

import openai
import pytest
from processes import cluster

MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "What is 2 + 2? Answer with a number, then say why. ☃ é"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather at a place.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
                "required": ["city"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def alone(model):
    with cluster(model) as server:
        yield server


@pytest.fixture(scope="module")
def served(model):
    with cluster(model, 3) as server:
        yield server


def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)


def name(server):
    return client(server).models.list().data[0].id


def chat(server, **parameters):
    parameters = {"model": name(server), "messages": MESSAGES, "max_tokens": 60, "seed": 7, **parameters}
    return client(server).chat.completions.create(**parameters)


def without_identity(response):
    """The answer without what names the request: its id and time."""
    fields = response.model_dump()
    for field in ("id", "created"):
        fields.pop(field)
    for choice in fields["choices"]:
        for call in (choice.get("message") or {}).get("tool_calls") or []:
            call.pop("id")
    return json.dumps(fields, sort_keys=True)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 0.9},
        {"n": 3, "temperature": 1.2},
        {"logprobs": True, "top_logprobs": 4, "max_tokens": 20},
        {"tools": TOOLS, "reasoning_effort": "low"},
        {"stop": ["e", "the"]},
        {"max_completion_tokens": 5, "max_tokens": openai.omit},
    ],
    ids=lambda p: "-".join(p) or "plain",
)
def test_chat_is_the_same_whatever_the_cluster(alone, served, parameters):
    expected = chat(alone, **parameters)
    assert without_identity(chat(served, **parameters)) == without_identity(expected)
    assert len(expected.choices) == parameters.get("n", 1)
    for choice in expected.choices:
        assert choice.finish_reason in ("stop", "length", "tool_calls")
        assert choice.message.role == "assistant"
    assert expected.usage.total_tokens == expected.usage.prompt_tokens + expected.usage.completion_tokens


def assemble(chunks):
    """What a stream says, put together."""
    texts = {}
    reasons = {}
    usage = None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text = texts.setdefault(choice.index, {"reasoning": "", "content": "", "calls": {}})
            text["reasoning"] += getattr(choice.delta, "reasoning", None) or ""
            text["content"] += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                entry = text["calls"].setdefault(call.index, ["", ""])
                entry[0] += call.function.name or ""
                entry[1] += call.function.arguments or ""
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    return texts, reasons, usage


@pytest.mark.parametrize("parameters", [{}, {"n": 2}, {"tools": TOOLS}, {"stop": ["a"]}], ids=lambda p: "-".join(p) or "plain")
def test_a_stream_says_what_the_whole_answer_says(served, parameters):
    whole = chat(served, **parameters)
    stream = chat(served, stream=True, stream_options={"include_usage": True}, **parameters)
    texts, reasons, usage = assemble(stream)
    # The second finds the prompt of the first in the cache; all else is the same.
    assert usage.model_copy(update={"prompt_tokens_details": whole.usage.prompt_tokens_details}) == whole.usage
    for choice in whole.choices:
        message = choice.message
        assert texts[choice.index]["content"] == (message.content or "")
        assert texts[choice.index]["reasoning"] == (getattr(message, "reasoning", None) or "")
        calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or []]
        assert list(texts[choice.index]["calls"].values()) == calls
        assert reasons[choice.index] == choice.finish_reason


def test_reasoning_has_both_names(served):
    message = chat(served).choices[0].message
    assert getattr(message, "reasoning", None) == getattr(message, "reasoning_content", None)


def test_completions(alone, served):
    for parameters in (
        {"prompt": "Once upon a time"},
        {"prompt": ["Once", "upon"], "n": 2},
        {"prompt": [5, 6, 7, 8]},
        {"prompt": [[5, 6], [7]], "logprobs": 3},
        {"prompt": "Once upon a time", "echo": True, "logprobs": 2, "max_tokens": 0},
        {"prompt": "Once upon a time", "echo": True, "max_tokens": 5},
    ):
        parameters = {"model": name(alone), "max_tokens": 16, "seed": 1, **parameters}
        expected = client(alone).completions.create(**parameters)
        assert without_identity(client(served).completions.create(**parameters)) == without_identity(expected)
        if not parameters.get("echo"):
            streamed = {}
            for chunk in client(served).completions.create(stream=True, **parameters):
                for choice in chunk.choices:
                    streamed[choice.index] = streamed.get(choice.index, "") + choice.text
            assert streamed == {choice.index: choice.text for choice in expected.choices}


def test_scoring_as_evaluation_harnesses_do(served):
    text = "The quick brown fox"
    choice = client(served).completions.create(
        model=name(served), prompt=text, echo=True, logprobs=1, max_tokens=0, temperature=0
    ).choices[0]
    assert choice.text == text
    assert "".join(choice.logprobs.tokens) == text
    assert choice.logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in choice.logprobs.token_logprobs[1:])
    assert len(choice.logprobs.text_offset) == len(choice.logprobs.tokens)


def test_concurrent_clients_get_what_they_get_alone(alone, served):
    requests = [{"seed": seed, "max_tokens": 20 + 5 * seed, "temperature": 0.9} for seed in range(6)]
    expected = [without_identity(chat(alone, **request)) for request in requests]
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        assert list(pool.map(lambda r: without_identity(chat(served, **r)), requests)) == expected


def test_a_client_that_leaves_mid_stream_frees_its_place_and_disturbs_nobody(alone, served):
    expected = without_identity(chat(alone, max_tokens=40))
    stream = chat(served, stream=True, max_tokens=4000, temperature=1.0, seed=3)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(chat, served, max_tokens=40)
        for count, _ in enumerate(stream):
            if count == 5:
                break
        stream.close()
        assert without_identity(other.result()) == expected
    # Workers fall silent once nothing is asked of them any more.
    deadline = time.monotonic() + 5
    before = None
    while time.monotonic() < deadline:
        rows = [worker["rows"] for worker in served.get("/cluster")[1]["workers"]]
        if rows == before:
            return
        before = rows
        time.sleep(0.5)
    pytest.fail("the abandoned request is still being computed")


def test_tokenize_and_detokenize(served):
    status, answer = served.post("/tokenize", {"prompt": "Hello, world ☃"})
    assert status == 200 and answer["count"] == len(answer["tokens"])
    assert served.post("/detokenize", {"tokens": answer["tokens"]})[1]["prompt"] == "Hello, world ☃"
    status, answer = served.post("/tokenize", {"messages": MESSAGES, "tools": TOOLS})
    assert status == 200 and answer["tokens"]
    assert "get_weather" in served.post("/detokenize", {"tokens": answer["tokens"]})[1]["prompt"]


def first_token(server, text):
    return server.post("/tokenize", {"prompt": text})[1]["tokens"][0]


def complete(server, **parameters):
    parameters = {"model": name(server), "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, **parameters}
    return client(server).completions.create(**parameters)


def test_a_bias_forces_a_token(served):
    token = first_token(served, " the")
    text = served.post("/detokenize", {"tokens": [token]})[1]["prompt"]
    assert complete(served, logit_bias={str(token): 100}).choices[0].text == text * 8


def test_choices_differ_and_one_seed_gives_the_same_choices(served):
    parameters = {"n": 3, "temperature": 1.0, "seed": 11, "max_tokens": 30}
    first, second = (complete(served, **parameters) for _ in range(2))
    assert len({choice.text for choice in first.choices}) == 3
    assert [choice.text for choice in first.choices] == [choice.text for choice in second.choices]


def test_vllms_extensions(served):
    token = first_token(served, " the")
    bias = {"logit_bias": {str(token): 100}}
    stopped = complete(served, **bias, extra_body={"stop_token_ids": [token]})
    assert stopped.choices[0].text == "" and stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].stop_reason == token
    assert stopped.usage.completion_tokens == 1
    later = complete(served, **bias, extra_body={"stop_token_ids": [token], "min_tokens": 5})
    assert later.usage.completion_tokens == 6 and later.choices[0].stop_reason == token
    ignored = chat(served, max_tokens=50, temperature=0, extra_body={"ignore_eos": True})
    assert ignored.usage.completion_tokens == 50 and ignored.choices[0].finish_reason == "length"
    scored = chat(served, max_tokens=1, extra_body={"prompt_logprobs": 2, "cache_salt": "s", "priority": -1})
    assert len(scored.prompt_logprobs) == scored.usage.prompt_tokens and scored.prompt_logprobs[0] is None
    with pytest.raises(openai.BadRequestError) as caught:
        complete(served, extra_body={"min_tokens": 9})
    assert caught.value.param == "min_tokens" and "max_tokens" in str(caught.value)


def test_penalties_and_truncation_are_accepted_and_repeatable(alone, served):
    parameters = {
        "temperature": 0.9, "frequency_penalty": 0.5, "presence_penalty": -0.5, "max_tokens": 30, "seed": 5,
        "extra_body": {"repetition_penalty": 1.1, "top_k": 50, "min_p": 0.01},
    }
    plain = complete(served, temperature=0.9, max_tokens=30, seed=5).choices[0].text
    assert complete(served, **parameters).choices[0].text == complete(alone, **parameters).choices[0].text != plain


def test_usage_tells_cached_tokens(served):
    usage = chat(served).usage
    assert 0 <= usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


def test_logprobs_have_the_bytes_of_the_content(served):
    choice = chat(served, logprobs=True, top_logprobs=2, max_tokens=60).choices[0]
    entries = choice.logprobs.content
    assert all(bytes(entry.bytes).decode(errors="replace") == entry.token for entry in entries)
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in entries)
    written = b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace")
    # A garbled message is trimmed, and an empty line stands between two: space that is no token's, or no content.
    assert "".join(written.split()) == "".join((choice.message.content or "").split())


def test_errors_have_openais_shape(served):
    api, model = client(served), name(served)
    with pytest.raises(openai.NotFoundError) as caught:
        api.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    for parameters, field in [
        ({"temperature": -1}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "picture"}]}]}, "messages[0].content[0].type"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
    ]:
        with pytest.raises(openai.BadRequestError) as caught:
            api.chat.completions.create(**{"model": model, "messages": MESSAGES, **parameters})
        assert caught.value.param == field
    with pytest.raises(openai.BadRequestError) as caught:
        api.completions.create(model=model, prompt=[1] * 20000)
    assert caught.value.code == "context_length_exceeded"
    assert served.post("/v1/chat/completions", b"{")[0] == 400
    assert served.get("/nowhere")[0] == 404
    assert served.get("/v1/chat/completions")[0] == 405


def test_health_and_readiness(served):
    assert served.get("/health")[0] == 200
    assert served.get("/ready")[0] == 200
