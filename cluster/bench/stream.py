"""Requests whose tokens are timed one by one."""

import http.client
import json
import time


def stream(server, prompt, tokens):
    """The times of the request and of each token."""
    # Letters alone: text that is held back until a character is whole would hide when its tokens came.
    letters = {str(token): 100 for token in range(64, 90)}
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True, "seed": 1, "logit_bias": letters}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=1800)
    times = [time.perf_counter()]
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    for line in answer:
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"]:
            times.append(time.perf_counter())
    connection.close()
    assert len(times) == tokens + 1, f"{len(times) - 1} of {tokens} tokens came"
    return times
