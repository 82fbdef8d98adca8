from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from spark_llm.engine.client import open_client
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer
from spark_llm.engine.openai_chat import OpenAIChatClient
from spark_llm.engine.openai_form import response_format, unwrap
from spark_llm.engine.retry import wait_s
from spark_llm.engine.types import Constraint, EngineRequest
from spark_llm.errors import SparkLLMError

OK = {
    "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}


def good(_body):
    return 200, {}, OK


@pytest.fixture
def client_of():
    opened = []

    def make(server, credential=None, limit=8, **more):
        client = OpenAIChatClient(server.url, "m", credential, limit, sleep, now=lambda: clock[0], **more)
        opened.append(client)
        return client

    slept, clock = [], [0.0]

    async def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds
        await asyncio.sleep(0)

    make.slept = slept
    yield make
    for client in opened:
        client.close()


def test_an_answer_with_its_usage(scripted_server, client_of, rows, sampling):
    server = scripted_server([good])
    (found,) = client_of(server, "s3cret").submit(rows(1), sampling(seed=7)).result(5)
    assert (found.text, found.prompt_tokens, found.cached_prompt_tokens, found.generated_tokens) == (
        "fine",
        9,
        4,
        2,
    )
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer s3cret"
    assert (body["model"], body["seed"], body["max_tokens"], body["temperature"]) == ("m", 7, 32, 0.0)
    assert "chat_template_kwargs" not in body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_a_priority_stays_here(scripted_server, client_of, sampling):
    # Servers without a priority queue refuse requests that have one.
    server = scripted_server([good])
    client_of(server).submit([EngineRequest("s", "u", 1_000_000)], sampling()).result(5)
    assert "priority" not in json.dumps(server.seen[0][1:]).lower()


def test_against_the_fake_server(rows, sampling):
    server = FakeServer(FakeEngine(), credential="k")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    conf = {
        "spark.llm.engine.kind": "openai",
        "spark.llm.model": "m",
        "spark.llm.engine.endpoint": f"http://127.0.0.1:{server.server_port}/v1",
        "spark.llm.engine.secret": "env:KEY",
    }
    client = open_client(conf, {"KEY": "k"})
    for constraint in (None, Constraint(choice=("a", "b")), Constraint(regex="[0-9]{3}")):
        found = client.submit(rows(40), sampling(constraint)).result(10)
        assert all(one.condition is None and one.text for one in found)
    assert all(one.text.isdigit() and len(one.text) == 3 for one in found)
    client.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("trouble", [(429, {}, {}), (503, {}, "busy"), (500, {}, {}), "hang up"])
def test_passing_trouble_is_tried_again(scripted_server, client_of, rows, sampling, trouble):
    server = scripted_server([trouble, trouble, good])
    (found,) = client_of(server).submit(rows(1), sampling()).result(5)
    assert found.text == "fine"
    assert len(server.seen) == 3
    first, second = client_of.slept
    assert 0.25 <= first <= 0.5 <= second <= 1.0


def test_retry_after_is_obeyed(scripted_server, client_of, rows, sampling):
    client_of(scripted_server([(429, {"retry-after": "7"}, {}), good])).submit(rows(1), sampling()).result(5)
    assert client_of.slept == [7.0]


def test_waits_grow_and_are_bounded():
    assert [wait_s(attempt, None, 1.0) for attempt in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 30.0]
    assert wait_s(1, "9999") == 120.0
    assert wait_s(1, "-3") == 0.0
    assert 50 < wait_s(1, format_datetime(datetime.now(UTC) + timedelta(seconds=60))) <= 60
    assert wait_s(1, "soon", 0.0) == 0.25


@pytest.mark.parametrize(
    ("step", "condition", "words"),
    [
        ((429, {}, {"error": {"message": "slow down"}}), "LLM_RATE_LIMITED", ["6 attempts", "slow down"]),
        ((502, {}, "<html>bad gateway</html>"), "LLM_ENDPOINT_FAILED", ["502", "bad gateway"]),
        ("hang up", "LLM_ENDPOINT_FAILED", ["RemoteProtocolError"]),
        ((401, {}, {"error": {"message": "wrong key"}}), "LLM_ENDPOINT_FAILED", ["401", "wrong key"]),
        ((403, {}, {}), "LLM_ENDPOINT_FAILED", ["403"]),
        ((404, {}, {"error": {"message": "no model m"}}), "LLM_MODEL_NOT_FOUND", ["no model m"]),
        ((302, {"location": "http://elsewhere"}, {}), "LLM_ENDPOINT_FAILED", ["302"]),
    ],
)
def test_what_fails_the_whole_submit(scripted_server, client_of, rows, sampling, step, condition, words):
    with pytest.raises(SparkLLMError) as caught:
        client_of(scripted_server([step]), "s3cret").submit(rows(2), sampling()).result(5)
    assert caught.value.condition == condition
    assert all(word in str(caught.value) for word in words)
    assert "s3cret" not in str(caught.value)


def test_no_server_at_all(client_of, rows, sampling):
    class Nowhere:
        url = "http://127.0.0.1:9/v1"

    with pytest.raises(SparkLLMError, match="LLM_ENDPOINT_FAILED.*127.0.0.1:9"):
        client_of(Nowhere).submit(rows(1), sampling()).result(5)


@pytest.mark.parametrize(
    ("status", "message", "condition", "words"),
    [
        (400, "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
         "LLM_PROMPT_TOO_LONG", ["5000", "4097"]),
        (400, "bad thing", "LLM_REQUEST_REJECTED", ["bad thing"]),
        (422, "bad thing", "LLM_REQUEST_REJECTED", ["bad thing"]),
    ],
)  # fmt: skip
def test_what_fails_one_row(scripted_server, client_of, rows, sampling, status, message, condition, words):
    def step(body):
        return (
            (status, {}, {"error": {"message": message}})
            if "number 1" in body["messages"][1]["content"]
            else good(body)
        )

    found = client_of(scripted_server([step])).submit(rows(3), sampling()).result(5)
    assert [one.condition for one in found] == [None, condition, None]
    assert all(word in found[1].message for word in words)


def test_a_refusal_is_the_rows_error(scripted_server, client_of, rows, sampling):
    refusal = {"choices": [{"message": {"content": None, "refusal": "I will not"}}]}
    (found,) = client_of(scripted_server([(200, {}, refusal)])).submit(rows(1), sampling()).result(5)
    assert found.condition == "LLM_REQUEST_REJECTED"
    assert "I will not" in found.message


def test_the_other_name_of_the_length(scripted_server, client_of, rows, sampling):
    def step(body):
        if "max_tokens" in body:
            return 400, {}, {"error": {"message": "Use 'max_completion_tokens' instead."}}
        return good(body)

    server = scripted_server([step])
    client = client_of(server)
    assert [one.text for one in client.submit(rows(2), sampling()).result(5)] == ["fine", "fine"]
    sent = len(server.seen)
    client.submit(rows(1), sampling()).result(5)
    assert len(server.seen) == sent + 1


def test_no_more_requests_at_once_than_allowed(rows, sampling):
    running, most, lock = [0], [0], threading.Lock()

    class Counting(FakeEngine):
        def submit(self, requests, sampling):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            threading.Event().wait(0.02)
            with lock:
                running[0] -= 1
            return super().submit(requests, sampling)

    server = FakeServer(Counting())
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    client = OpenAIChatClient(f"http://127.0.0.1:{server.server_port}/v1", "m", None, 5)
    assert len(client.submit(rows(60), sampling()).result(10)) == 60
    client.close()
    server.shutdown()
    server.server_close()
    assert most[0] == 5


OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
MAP = {"type": "object", "additionalProperties": {"type": "string"}}


@pytest.mark.parametrize(
    ("constraint", "wrapped", "strict"),
    [
        (Constraint(choice=("a", "b")), True, True),
        (Constraint(regex="[0-9]+"), True, True),
        (Constraint(json_schema={"type": "array", "items": {"type": "string"}}), True, True),
        (Constraint(json_schema=OBJECT), False, True),
        (Constraint(json_schema={**OBJECT, "required": []}), False, False),
        (Constraint(json_schema=MAP), True, False),
        (Constraint(json_schema={"type": "array", "items": MAP}), True, False),
    ],
)
def test_response_format(constraint, wrapped, strict):
    form, is_wrapped = response_format(constraint)
    schema = form["json_schema"]["schema"]
    assert is_wrapped is wrapped
    assert form["json_schema"]["strict"] is strict
    assert schema["type"] == "object"
    assert (list(schema["properties"]) == ["value"]) is wrapped


def test_no_constraint_no_format():
    assert response_format(None) == (None, False)
    assert response_format(Constraint()) == (None, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"value": "Yes"}', "Yes"), ('{"value": [1, "é"]}', '[1, "é"]'), ("Yes", "Yes"), ("[1]", "[1]")],
)
def test_unwrap(text, value):
    assert unwrap(text) == value


def test_wrapped_answers_are_unwrapped(scripted_server, client_of, rows, sampling):
    body = {"choices": [{"message": {"content": json.dumps({"value": "Yes"})}}]}
    server = scripted_server([(200, {}, body)])
    (found,) = client_of(server).submit(rows(1), sampling(Constraint(choice=("Yes", "No")))).result(5)
    assert found.text == "Yes"
