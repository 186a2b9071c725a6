"""The engine, seen through a server: memory, prefix cache, deadlines, shutdown."""

import concurrent.futures
import signal
import time

from processes import cluster, shoal


def complete(server, **fields):
    return server.post("/v1/completions", {"max_tokens": 16, "seed": 1, "ignore_eos": True, **fields})


def test_the_memory_for_keys_and_values_is_stated_and_can_be_set(model):
    with cluster(model, 0, "--kv-memory", "2M", "--kv-cache", "int8", "--max-sequences", 4) as server:
        stated = server.wait_for(r"memory for keys and values.*context=(\d+)")
        context = int(stated.group(1))
        assert server.get("/v1/models")[1]["data"][0]["max_model_len"] == context
        status, answer = complete(server, prompt=[5] * (context + 1))
        assert status == 400 and str(context + 1) in answer["error"]["message"]
    refused = shoal("serve", "--model", model, "--kv-memory", "1K", "--listen", "127.0.0.1:0", "--bind", "tcp://127.0.0.1:*")
    assert refused.returncode == 1 and "keys and values hold 0 tokens" in refused.stderr


def test_a_second_request_finds_what_the_first_computed(model):
    with cluster(model) as server:
        prompt = [7 + i % 50 for i in range(100)]
        first, second = (complete(server, prompt=prompt)[1] for _ in range(2))
        assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == 96
        assert first["choices"] == second["choices"]
        other = complete(server, prompt=prompt, cache_salt="mine")[1]
        assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert other["choices"] == first["choices"]
        now = server.metrics()
        assert now["prefix_cache_hits_total"] == 96 and now["prefix_cache_queries_total"] == 300
        assert now["kv_pages_used"] == 0 < now["kv_pages_findable"]
        assert now['tokens_total{kind="generated"}'] == 48


def test_a_request_that_takes_too_long_ends_with_504(long_model):
    with cluster(long_model, 0, "--request-timeout", "0.05", "--context", 100_000) as server:
        status, answer = complete(server, prompt=[5] * 8, max_tokens=90_000)
        assert status == 504 and answer["error"]["code"] == "timeout"
        assert server.wait_until_idle()["kv_pages_used"] == 0


def test_at_shutdown_accepted_requests_are_answered_and_new_ones_refused(long_model):
    with cluster(long_model, 0, "--context", 100_000) as server:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(complete, server, prompt=[5 + i], max_tokens=5000) for i in range(3)]
            while server.metrics()["requests_running"] < 3:
                time.sleep(0.01)
            server.signal(signal.SIGTERM)
            server.wait_for("ending")
            status, answer = complete(server, prompt=[5])
            assert status == 503 and "shutting down" in answer["error"]["message"]
            assert server.get("/ready")[0] == 503 and server.get("/health")[0] == 200
            for future in answers:
                status, answer = future.result()
                assert status == 200 and answer["usage"]["completion_tokens"] == 5000
        assert server.wait() == 0


def test_what_is_not_complete_when_the_drain_time_is_over_ends_with_an_error(long_model):
    with cluster(long_model, 0, "--drain-timeout", "0.2", "--context", 100_000) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(complete, server, prompt=[5], max_tokens=90_000)
            while server.metrics()["requests_running"] < 1:
                time.sleep(0.01)
            server.signal(signal.SIGTERM)
            status, answer = answer.result()
            assert status == 503 and answer["error"]["code"] == "shutting_down"
        assert server.wait() == 0
