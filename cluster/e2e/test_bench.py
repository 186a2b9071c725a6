"""`shoal bench` against a real server, and against one that misbehaves."""

import contextlib
import http.server
import json
import threading
import time
import xml.etree.ElementTree

import pytest
from processes import cluster, shoal


def bench(url, *arguments, model="m"):
    fixed = [] if model is None else ["--model", model, "--token-range", "1-9"]
    return shoal("bench", "--url", url, *fixed, *arguments)


@pytest.fixture(scope="module")
def server(model):
    with cluster(model) as running:
        yield running


def test_a_sweep_of_a_real_server(server, tmp_path):
    report, plot = tmp_path / "report.json", tmp_path / "plot.svg"
    flags = ["--concurrency", "1,4", "--requests", "6,12", "--input-tokens", "uniform:4-20", "--output-tokens", 8]
    flags += ["--warm-up", 2, "--seed", 5, "--json", report, "--plot", plot]
    result = bench(server.url, *flags, model=None)
    assert result.returncode == 0, result.stderr
    assert "steady tok/s" in result.stdout and "TTFT" in result.stdout

    data = json.loads(report.read_text())
    assert data["settings"]["seed"] == 5 and data["settings"]["url"] == server.url
    assert [level["concurrency"] for level in data["levels"]] == [1, 4]
    for level, count in zip(data["levels"], (6, 12)):
        assert level["requests"] == {"completed": count, "cancelled": 0, "failed": 0}
        assert level["tokens_counted_by"] == "usage"
        assert all(1 <= s["output_tokens"] <= 8 and 4 <= s["input_tokens"] <= 20 for s in level["samples"])
        assert 0 < level["latency"]["TTFT"]["p50"] <= level["latency"]["end to end"]["p50"]
        assert all(s["sent"] <= min(s["chunks"], default=s["ended"]) <= s["ended"] for s in level["samples"])
    assert xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg")

    lengths = [s["input_tokens"] for s in sorted(data["levels"][0]["samples"], key=lambda s: s["index"])]
    bench(server.url, *flags, model=None)
    again = json.loads(report.read_text())["levels"][0]["samples"]
    assert lengths == [s["input_tokens"] for s in sorted(again, key=lambda s: s["index"])], "a seed repeats the run"


def test_chats_at_a_rate(server):
    result = bench(server.url, "--endpoint", "chat", "--rate", 50, "--requests", 10, "--output-tokens", 4, model=None)
    assert result.returncode == 0, result.stderr
    assert "queue" in result.stdout


def test_cancelled_requests_are_no_failures_and_free_the_server(server, tmp_path):
    report = tmp_path / "report.json"
    result = bench(
        server.url, "--concurrency", 4, "--requests", 40, "--output-tokens", 200, "--cancel", 0.9, "--json", report,
        model=None,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    requests = json.loads(report.read_text())["levels"][0]["requests"]
    assert requests["cancelled"] >= 5 and requests["failed"] == 0
    assert sum(requests.values()) == 40
    assert bench(server.url, "--requests", 2, "--output-tokens", 2, model=None).returncode == 0


def test_a_refused_request_shows_the_servers_reason(server):
    result = bench(server.url, "--requests", 1, model="absent")
    assert result.returncode == 1
    assert "HTTP 404" in result.stdout and "absent" in result.stdout and "does not exist" in result.stdout
    assert bench(server.url, "--requests", 1, "--allow-errors", model="absent").returncode == 0


@contextlib.contextmanager
def misbehaving(answer):
    """A server whose POSTs `answer(handler)` answers; what it writes goes out at once."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError):
                answer(self)
            self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def events(*texts, pause=0.0):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        for text in texts:
            handler.wfile.write(f"data: {text}\n\n".encode())
            time.sleep(pause)

    return answer


def chunk(text, finish=None):
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": finish}]})


MISBEHAVIOUR = {
    "HTTP 500: out of order": lambda handler: handler.send_error(500, "out of order", "out of order"),
    "error in the stream: no experts": events(chunk("a"), '{"error": {"message": "no experts"}}'),
    "malformed: an event's data is '{garbage'": events(chunk("a"), "{garbage"),
    "malformed: an event has no 'choices'": events('{"hello": 1}'),
    "malformed: the stream ended without a finish reason": events(chunk("a")),
    "malformed: 'SSH-2.0-x'": lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n"),
    "dropped connection: the server closed the connection before any answer": lambda handler: None,
    "timeout: not complete after 0.5 s": events(*[chunk("a")] * 10, pause=0.2),
    "dropped connection: the server closed the connection after 0 chunks": lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ndata: {}"
    ),
}


@pytest.mark.parametrize("message", MISBEHAVIOUR)
def test_each_failure_is_named(message):
    with misbehaving(MISBEHAVIOUR[message]) as url:
        result = bench(url, "--requests", 4, "--concurrency", 2, "--timeout", 0.5)
    assert result.returncode == 1
    if message.startswith("HTTP"):  # the library's error page is HTML
        message = message.split(":")[0]
    assert f"4 failed, {message}" in result.stdout
    assert "4 requests failed" in result.stderr


def test_times_are_those_of_arrival():
    with misbehaving(events(*[chunk("a")] * 5, chunk("", "stop"), "[DONE]", pause=0.1)) as url:
        result = bench(url, "--requests", 2, "--json", "/dev/stdout")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout[result.stdout.index('{"settings"') :])
    latency = data["levels"][0]["latency"]
    assert data["levels"][0]["tokens_counted_by"] == "chunks"
    assert latency["ITL"]["count"] == 8 and 0.09 < latency["ITL"]["p50"] < 0.2
    assert 0 < latency["TTFT"]["p50"] < 0.09


def test_what_is_no_openai_server_is_said_to_be_none():
    with misbehaving(lambda handler: None) as url:
        result = bench(url, model=None)
        assert result.returncode == 1 and "/v1/models gave HTTP 404" in result.stderr
    result = bench(url, model=None)
    assert result.returncode == 1 and "Connection refused" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "1", "--rate", "1"],
        ["--requests", "1", "--duration", "1"],
        ["--concurrency", "0"],
        ["--concurrency", "1,"],
        ["--rate", "nan"],
        ["--concurrency", "1,2,4", "--requests", "1,2"],
        ["--input-tokens", "many"],
        ["--token-range", "9-1"],
        ["--shared-prefix", "1.5"],
        ["--endpoint", "chats"],
    ],
)
def test_usage_errors(arguments):
    result = shoal("bench", "--url", "http://127.0.0.1:1", *arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr.strip() and not result.stdout
