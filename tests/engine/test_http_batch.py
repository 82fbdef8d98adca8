from __future__ import annotations

import asyncio
import json
from concurrent.futures import CancelledError

import pytest

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_rules import Rule
from spark_llm.engine.fake_server import FakeServer
from spark_llm.engine.http_batch import HttpBatchClient
from spark_llm.engine.reconnect import Reconnect
from spark_llm.engine.state import EngineState, publish
from spark_llm.engine.types import Constraint, EngineRequest, PrefixUse
from spark_llm.engine.wire import batch_body
from spark_llm.errors import SparkLLMError


@pytest.fixture
def serve(tmp_path, in_thread):
    def start(engine=None, delay_s=0.0):
        return in_thread(FakeServer(engine or FakeEngine(), uds=tmp_path / "s", delay_s=delay_s))

    return start


@pytest.fixture
def client(tmp_path):
    one = HttpBatchClient(str(tmp_path / "s"), str(tmp_path / "state.json"), 5.0)
    yield one
    one.close()


class Sink:
    def write(self, _text):
        pass

    def flush(self):
        pass


def tell(folder, phase, condition=None, **params):
    message = "it broke" if condition else None
    state = EngineState(phase, "s", "/x/engine.log", "m", None, condition, message, params)
    publish(state, folder / "state.json", Sink())


@pytest.mark.parametrize("count", [0, 1, 64, 65, 300])
def test_answers_come_in_order(serve, client, rows, sampling, count):
    serve()
    asked = rows(count)
    found = client.submit(asked, sampling()).result(10)
    assert [one.text for one in found] == [
        one.text for one in FakeEngine().submit(asked, sampling()).result()
    ]
    assert all(one.prompt_tokens > 0 and one.finish_reason == "stop" for one in found)


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(choice=("Yes", "No")),
        Constraint(regex="[0-9]{3}"),
        Constraint(json_schema={"type": "array"}),
    ],
)
def test_constraints_seed_and_errors_travel(serve, client, rows, sampling, constraint):
    engine = FakeEngine(fail="number 3")
    serve(engine)
    asked, how = rows(8), sampling(constraint, seed=4)
    found = client.submit(asked, how).result(10)
    assert [(one.text, one.condition) for one in found] == [
        (one.text, one.condition) for one in engine.submit(asked, how).result()
    ]
    assert found[3].condition == "LLM_REQUEST_REJECTED"
    assert "spark.llm.fake.fail" in found[3].message


def test_priorities_travel_whatever_their_size(serve, client, sampling):
    seen = []

    class Watched(FakeEngine):
        def submit(self, requests, sampling):
            seen.extend(request.priority for request in requests)
            return super().submit(requests, sampling)

    serve(Watched())
    places = [0, 3, 2**62, 2**63 - 1]
    client.submit([EngineRequest("", "q", place) for place in places], sampling()).result(10)
    assert seen == places


def test_what_rows_share_travels(sampling):
    rows = [
        EngineRequest("s", "a 1", 0, "w 1", (PrefixUse(0, 2, 1), PrefixUse(2, 1, 2))),
        EngineRequest("s", "b", 0, "w 1", (PrefixUse(0, 1, 1),)),
        EngineRequest("s", "c"),
    ]
    body = json.loads(batch_body(rows, sampling()))
    assert body["uses"] == [["w 1", 0, 2, 1, 2, 1, 2], ["w 1", 0, 1, 1], [""]]
    assert "uses" not in json.loads(batch_body(rows[2:], sampling()))


def test_many_submits_at_once(serve, client, rows, sampling):
    serve(delay_s=0.2)
    futures = [client.submit(rows(64), sampling()) for _ in range(40)]
    assert sum(len(future.result(10)) for future in futures) == 64 * 40


def test_lone_surrogates_do_not_break_a_batch(serve, client, rows, sampling):
    serve()
    assert len(client.submit(rows(2, text="\ud800"), sampling()).result(10)) == 2


def test_it_waits_for_an_engine_that_is_starting(serve, client, rows, sampling, tmp_path):
    tell(tmp_path, "starting")
    future = client.submit(rows(3), sampling())
    with pytest.raises(TimeoutError):
        future.result(0.3)
    serve()
    tell(tmp_path, "ready")
    assert len(future.result(5)) == 3


@pytest.mark.parametrize("condition", ["LLM_ENGINE_FAILED", "LLM_MODEL_NOT_FOUND", None])
def test_a_failed_engine_is_told_with_its_condition(client, rows, sampling, tmp_path, condition):
    tell(
        tmp_path,
        "failed" if condition else "stopped",
        condition,
        reason="it broke",
        log="/x",
        model="m",
        known="k",
    )
    with pytest.raises(SparkLLMError) as caught:
        client.submit(rows(3), sampling()).result(5)
    assert caught.value.condition == (condition or "LLM_ENGINE_FAILED")


def test_it_gives_up_when_nothing_answers(tmp_path, rows, sampling):
    client = HttpBatchClient(str(tmp_path / "s"), None, 0.3)
    with pytest.raises(SparkLLMError, match="nothing answers at") as caught:
        client.submit(rows(3), sampling()).result(5)
    assert caught.value.condition == "LLM_ENGINE_FAILED"


def test_ready_but_dead_is_believed_for_a_while_only(tmp_path):
    tell(tmp_path, "ready")
    now = [0.0]

    async def sleep(seconds):
        now[0] += seconds

    async def probe():
        return False

    reconnect = Reconnect("s", str(tmp_path / "state.json"), 600.0, probe, lambda: now[0], sleep)
    with pytest.raises(SparkLLMError, match="its state is ready"):
        asyncio.run(reconnect.until_ready(OSError("refused")))
    assert 30 < now[0] < 31


def test_prompts_that_kill_each_engine_are_not_sent_for_ever(client, serve, rows, sampling, tmp_path):
    class Deadly(FakeEngine):
        tries = 0

        def submit(self, requests, sampling):
            Deadly.tries += 1
            raise ConnectionResetError

    server = serve(Deadly())
    server.handle_error = lambda *_: None
    tell(tmp_path, "ready")
    with pytest.raises(SparkLLMError, match="engine failed each time"):
        client.submit(rows(1), sampling()).result(10)
    assert Deadly.tries == 6


def test_an_engine_failure_of_one_chunk_fails_the_submit(serve, client, rows, sampling):
    class Refuses(FakeEngine):
        def submit(self, requests, sampling):
            return FakeEngine([Rule.of("", "x")]).submit(requests[:-1], sampling)

    serve(Refuses())
    with pytest.raises(SparkLLMError, match="63 answers came for 64 prompts"):
        client.submit(rows(128), sampling()).result(10)


def test_close_drops_what_is_unfinished(serve, client, rows, sampling):
    serve(delay_s=1.0)
    future = client.submit(rows(3), sampling())
    client.close()
    with pytest.raises(CancelledError):
        future.result(5)


def test_rows_that_the_engine_gave_up_are_sent_again_alone(serve, client, rows, sampling, monkeypatch):
    from spark_llm.engine import fake_server

    seen = []
    result = fake_server._result

    def gives_up(answer):
        seen.append(answer.text)
        if seen.count(answer.text) < 3 and answer.text in first:
            return {"again": "stopping"}
        return result(answer)

    asked = rows(20)
    calm = [one.text for one in FakeEngine().submit(asked, sampling()).result()]
    first = set(calm[3:9])
    monkeypatch.setattr(fake_server, "_result", gives_up)
    serve()
    assert [one.text for one in client.submit(asked, sampling()).result(10)] == calm
    assert len(seen) == 20 + 6 + 6


def test_rows_that_are_given_up_each_time_fail_alone(serve, client, rows, sampling, monkeypatch):
    from spark_llm.engine import fake_server

    result = fake_server._result
    bad = FakeEngine().submit(rows(2)[1:], sampling()).result()[0].text
    monkeypatch.setattr(
        fake_server, "_result", lambda answer: {"again": "boom"} if answer.text == bad else result(answer)
    )
    serve()
    found = client.submit(rows(3), sampling()).result(10)
    assert [one.condition for one in found] == [None, "LLM_REQUEST_REJECTED", None]
    assert "boom" in found[1].message
