"""The limits per minute that an endpoint's clients share, as one client sees them."""

import pytest

from spark_llm.conf import parse_conf
from spark_llm.engine.openai_chat import OpenAIChatClient
from spark_llm.engine.pace import pace_of
from spark_llm.errors import SparkLLMError
from spark_llm.worker.port import Port

OK = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "usage": {}}


def test_a_request_waits_its_turn_also_when_it_is_sent_again(scripted_server, rows, sampling):
    server = scripted_server([lambda body: (500, {}, {}), lambda body: (200, {}, OK)])
    asked, slept = [], []

    async def sleep(seconds):
        slept.append(seconds)

    def pace(requests, tokens):
        asked.append((requests, tokens))
        return 7.5

    client = OpenAIChatClient(server.url, "m", None, 8, sleep, pace=pace)
    (answer,) = client.submit(rows(1), sampling(max_tokens=100)).result(5)
    client.close()
    assert answer.text == "fine"
    assert slept.count(7.5) == len(asked) == 2
    assert all(requests == 1 and 100 < tokens < 250 for requests, tokens in asked)


def test_the_driver_is_asked_with_the_limits(monkeypatch):
    calls = []

    class Driver:
        def call(self, op, **fields):
            calls.append((op, fields))
            return {"wait_s": 2}

    monkeypatch.setattr(Port, "open", lambda environ: Driver())
    pace = pace_of(parse_conf({"spark.llm.limits.rpm": "60"}), {}, "https://host/v1")
    assert pace(1, 250) == 2.0
    assert calls == [
        ("pace", {"endpoint": "https://host/v1", "requests": 1, "tokens": 250, "rpm": 60, "tpm": None})
    ]


def test_no_limit_asks_nobody_and_a_limit_without_a_driver_says_so():
    assert pace_of(parse_conf({}), {}, "https://host/v1") is None
    with pytest.raises(SparkLLMError, match="no way to the driver"):
        pace_of(parse_conf({"spark.llm.limits.tpm": "60"}), {}, "https://host/v1")


@pytest.mark.parametrize("value", ["0", "-5", "many"])
@pytest.mark.reliability("spark.llm.limits.rpm or tpm that is no whole number from 1", "LLM_INVALID_CONF")
def test_a_limit_is_a_whole_number_from_1(value):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_CONF"):
        parse_conf({"spark.llm.limits.rpm": value})
