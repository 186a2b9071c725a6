"""Clients that know what the answers have to be."""

import collections
import dataclasses
import http.client
import json
import pathlib
import random
import threading
import time

REQUESTS = 48
CLIENTS = 6


def corpus(seed):
    """(path, body) of requests of many shapes: short and long prompts and answers, both endpoints, greedy and not."""
    draw = random.Random(f"corpus {seed}")
    words = ["river", "stone", "light", "seven", "under", "above", "maybe", "green"]
    requests = []
    for index in range(REQUESTS):
        body = {"seed": index, "max_tokens": draw.choice([20, 150, 400]), "temperature": draw.choice([0, 0.7, 1])}
        if index % 3:
            length = draw.choice([3, 40, 200, 700])
            body |= {"prompt": [draw.randrange(5, 1000) for _ in range(length)], "ignore_eos": True, "logprobs": 1}
            requests.append(("/v1/completions", body))
        else:
            text = " ".join(draw.choices(words, k=draw.choice([3, 60])))
            body |= {"messages": [{"role": "user", "content": text}], "logprobs": True}
            requests.append(("/v1/chat/completions", body))
    return requests


class Refused(Exception):
    """An answer with another status than 200, or an error in the midst of one."""

    def __init__(self, text, status=200):
        super().__init__(f"{status} {text}")
        self.status, self.text = status, text

    @property
    def is_for_the_end(self):
        """Whether the server says that it takes nothing more."""
        return self.status == 503 and '"shutting_down"' in self.text


@dataclasses.dataclass(eq=False)
class Attempt:
    """One request under way."""

    path: str
    body: dict
    begin: float
    is_streamed: bool
    connection: http.client.HTTPConnection
    progress: float = 0.0
    # When all of it had been handed to the system, which may be long after the beginning.
    sent: float = float("inf")
    is_hung: bool = False
    has_begun: bool = False
    has_tokens: bool = False


def whole(answers):
    """What must be the same each time, of one JSON answer or of all chunks of a stream."""
    joined = collections.defaultdict(list)
    for answer in answers:
        if "error" in answer:
            raise Refused(json.dumps(answer["error"]))
        for choice in answer["choices"]:
            part = choice.get("message") or choice.get("delta") or choice
            for name in ("text", "content", "reasoning"):
                joined[name].append(part.get(name) or "")
            logprobs = choice.get("logprobs") or {}
            joined["tokens"] += [(token["token"], token["logprob"]) for token in logprobs.get("content") or []]
            joined["tokens"] += zip(logprobs.get("tokens") or [], logprobs.get("token_logprobs") or [])
            if choice["finish_reason"]:
                joined["finish"].append(choice["finish_reason"])
        if usage := answer.get("usage"):
            joined["usage"] += [usage["prompt_tokens"], usage["completion_tokens"]]
    texts = {name: "".join(joined.pop(name)) for name in ("text", "content", "reasoning")}
    return json.dumps([texts, joined["tokens"], joined["finish"], joined["usage"]])


def perform(attempt, on_chunk=lambda: None, give_up_after=None, now=time.monotonic):
    """The whole answer; nothing where it was given up after so many chunks."""
    connection = attempt.connection
    body = attempt.body
    if attempt.is_streamed:
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", attempt.path, json.dumps(body), {"Content-Type": "application/json"})
    attempt.sent = now()
    response = connection.getresponse()
    attempt.has_begun = response.status == 200
    if not attempt.has_begun:
        raise Refused(response.read(1000).decode(errors="replace"), response.status)
    if not attempt.is_streamed:
        return whole([json.loads(response.read())])
    chunks = []
    while line := response.readline():
        if line.startswith(b"data: [DONE]"):
            return whole(chunks)
        if line.startswith(b"data: "):
            chunks.append(json.loads(line[6:]))
            on_chunk()
            if give_up_after and len(chunks) > give_up_after:
                return None
    raise ConnectionError("the stream ended before it was done")


class Load:
    """Clients in a closed loop. What they find is in `failures`, `counts` and what `watchers` are told."""

    def __init__(self, cluster, requests, answers, seed, folder):
        self.cluster, self.clock = cluster, cluster.clock
        self.requests, self.answers = requests, answers
        self.folder = pathlib.Path(folder)
        self.counts = collections.Counter()
        self.failures = []
        self.watchers = []
        self.under_way = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._client, args=(random.Random(f"client {seed} {number}"),), daemon=True)
            for number in range(CLIENTS)
        ]

    def begin(self):
        for thread in self._threads:
            thread.start()

    def streaming(self):
        """Those whose tokens come one by one: the parser of the chat format holds babble back until its end."""
        with self._lock:
            return {attempt for attempt in self.under_way if attempt.has_tokens and attempt.path == "/v1/completions"}

    def _client(self, draw):
        while not self._ending.is_set():
            index = draw.randrange(len(self.requests))
            is_streamed = draw.random() < 0.75
            give_up_after = draw.randrange(1, 60) if is_streamed and draw.random() < 0.05 else None
            while not self._ending.is_set() and not self._try(index, is_streamed, give_up_after):
                time.sleep(0.05)

    def _try(self, index, is_streamed, give_up_after):
        """False where the coordinator was away, and the request is to be sent again."""
        path, body = self.requests[index]
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.coordinator.http)
        attempt = Attempt(path, body, self.clock.now(), is_streamed, connection, progress=self.clock.now())
        with self._lock:
            self.under_way.add(attempt)
        try:
            answer = perform(attempt, lambda: self._on_chunk(attempt), give_up_after, self.clock.now)
        except (OSError, ValueError, http.client.HTTPException, Refused) as error:
            if self._is_closed:
                return True
            if self.cluster.coordinator.explains(attempt, error) and not attempt.is_hung:
                self._count("sent again")
                return False
            what = "no progress" if attempt.is_hung else f"{type(error).__name__}: {error}"
            self.fail(f"request {index} ({path}, streamed: {is_streamed}): {what}")
            time.sleep(1)
            return True
        finally:
            with self._lock:
                self.under_way.discard(attempt)
            connection.close()
            for watcher in list(self.watchers):
                watcher.on_end(attempt, self.clock.now())
        if answer is None:
            self._count("given up")
        elif answer == self.answers[index]:
            self._count("answered")
            self._count("tokens", json.loads(answer)[3][1])
        else:
            self._report_difference(index, is_streamed, answer)
        return True

    def _count(self, what, number=1):
        with self._lock:
            self.counts[what] += number

    def _on_chunk(self, attempt):
        attempt.progress, attempt.has_tokens = self.clock.now(), True
        for watcher in list(self.watchers):
            watcher.on_chunk(attempt, attempt.progress)

    def _report_difference(self, index, is_streamed, answer):
        names = []
        for kind, text in (("expected", self.answers[index]), ("found", answer)):
            names.append(f"{kind}-{len(self.failures)}.json")
            (self.folder / names[-1]).write_text(text)
        self.fail(f"request {index} (streamed: {is_streamed}): another answer: compare {' and '.join(names)}")

    def fail(self, what):
        self.failures.append((self.clock.now(), what))

    def end_what_hangs(self, seconds):
        """Gives up requests that have not moved for so long."""
        with self._lock:
            attempts = list(self.under_way)
        for attempt in attempts:
            if not attempt.is_hung and self.clock.now() - attempt.progress > seconds:
                attempt.is_hung = True
                if attempt.connection.sock:
                    attempt.connection.sock.shutdown(2)

    def end(self):
        """No new requests; those under way come to their end."""
        self._ending.set()

    def close(self):
        """What the clients meet from now on is of no interest."""
        self._is_closed = True
        self.end()

    @property
    def has_ended(self):
        return not any(thread.is_alive() for thread in self._threads)
