"""The engine's metrics page: what is read of it, and that the JVM is told."""

from __future__ import annotations

import io
import json
import threading

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer
from spark_llm.engine.metrics_poll import MetricsPoll, parse
from spark_llm.engine.types import EngineRequest, Sampling
from spark_llm.engine.uds import get_text

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a {b} c"} 3.0
vllm:num_requests_running{engine="1",model_name="a {b} c"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.1
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.2e+06
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:prompt_tokens_by_source_total{source="x"} 5.0
vllm:generation_tokens_total 7 1395066363000
vllm:num_requests_waiting NaN
vllm:spec_decode_num_accepted_tokens_total{engine="0"} 9.0
python_info{version="3"} 1.0
garbage
"""


def test_the_wanted_figures_are_read_and_nothing_else():
    assert parse(PAGE) == {
        "num_requests_running": 5,
        "kv_cache_usage_perc": 0.3,
        "prompt_tokens": 1_200_000,
        "generation_tokens": 7,
        "spec_decode_num_accepted_tokens": 9,
    }


def test_one_line_a_reading_and_none_while_nothing_answers():
    pages, out, stop = iter([None, PAGE, "", PAGE]), io.StringIO(), threading.Event()
    poll = MetricsPoll(lambda: next(pages), out, stop, now=lambda: 12.5)
    for _ in range(4):
        poll.tell()
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(each["at_s"], each["metrics"]["generation_tokens"]) for each in told] == [(12.5, 7), (12.5, 7)]
    assert all("state" not in each and "memory" not in each for each in told)


def test_how_the_engine_lays_out_its_memory_is_told_with_them():
    out, memory = io.StringIO(), iter([None, {"allocator": "jenga"}])
    poll = MetricsPoll(lambda: PAGE, out, threading.Event(), memory=lambda: next(memory))
    poll.tell()
    poll.tell()
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each.get("memory") for each in told] == [None, {"allocator": "jenga"}]


def test_a_reader_that_is_gone_is_no_error():
    out = io.StringIO()
    out.close()
    stop = threading.Event()
    stop.set()
    MetricsPoll(lambda: PAGE, out, stop).tell()


def test_the_fake_server_has_the_page(tmp_path):
    engine = FakeEngine()
    server = FakeServer(engine, uds=tmp_path / "s")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        sampling = Sampling(None, 0.0, 8, None, None)
        engine.submit([EngineRequest("s", "x" * 4000), EngineRequest("s", "x" * 4000)], sampling).result()
        figures = parse(get_text(str(tmp_path / "s"), "/metrics") or "")
        assert get_text(str(tmp_path / "s"), "/nothing") is None
    finally:
        server.shutdown()
        server.server_close()
    assert figures["prompt_tokens"] == figures["prefix_cache_queries"] > 2000
    assert 0 < figures["prefix_cache_hits"] < figures["prompt_tokens"]
    assert figures["generation_tokens"] > 0
    assert figures["num_requests_running"] == 0
    assert get_text(str(tmp_path / "gone"), "/metrics") is None
