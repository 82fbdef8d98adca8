"""From the engine's steps to a stored fit: recording, driving, fitting, writing and reading."""

import argparse
import asyncio
import json
from types import SimpleNamespace

import httpx
import pytest

from spark_llm import cli
from spark_llm.costmodel import command, measure
from spark_llm.costmodel.presets import H100_8B
from spark_llm.costmodel.step_time import StepTime
from spark_llm.costmodel.store import read_step_time, write_fit
from spark_llm.engine.step_recorder import EngineStep, StepRecorder, context_tokens
from spark_llm.errors import SparkLLMError

TRUTH = StepTime(kv_s=2e-8, token_s=9e-5, sequence_s=7e-5, base_s=4e-3)


def told(prompts=(0, 0), generation=(0, 0), elapsed_ms=5.0, *, dummy=False):
    """`SchedulerStats` with (rows, tokens) of both kinds."""
    details = SimpleNamespace(
        num_ctx_requests=prompts[0], num_ctx_tokens=prompts[1], num_generation_requests=generation[0],
        num_generation_tokens=generation[1], elapsed_ms=elapsed_ms, is_dummy=dummy,
    )  # fmt: skip
    return SimpleNamespace(iteration_details=details)


def seen(latencies=(), hits=0):
    """`IterationStats`."""
    stats = SimpleNamespace(cached_tokens=hits)
    return SimpleNamespace(prompt_token_stats=stats, inter_token_latencies_iter=list(latencies))


def test_a_step_is_recorded_with_the_context_that_it_found():
    contexts = iter([100, 250])
    recorder = StepRecorder(lambda: next(contexts))
    recorder.record(told(prompts=(2, 60)), seen(hits=32))
    recorder.record(told(prompts=(1, 9), generation=(4, 7)), seen(latencies=[0.009, 0.02]))
    assert recorder.steps() == [
        EngineStep(32, 60, 60, 2, 0.005, 0.0),
        EngineStep(100, 16, 9, 5, 0.005, 0.009),
    ]
    recorder.clear()
    assert recorder.steps() == []


def test_an_engine_that_does_not_tell_records_nothing_and_is_still_watched():
    now = [0.0]
    recorder = StepRecorder(lambda: 1 / 0, now=lambda: now[0])
    now[0] = 5.0
    recorder.record(SimpleNamespace(iteration_details=None), seen())
    recorder.record(None, None)
    recorder.record(told(dummy=True), None)
    assert recorder.steps() == []
    assert recorder.stalled_s(1) == 0.0


def test_context_is_that_of_decoding_rows():
    def row(prompt, generated, *, prefilling):
        return SimpleNamespace(
            prompt_len=prompt,
            is_prefilling=prefilling,
            stats=SimpleNamespace(num_generation_tokens=generated),
        )

    states = {
        "a": row(100, 3, prefilling=False),
        "b": row(50, 0, prefilling=True),
        "c": row(7, 1, prefilling=False),
    }
    assert context_tokens(SimpleNamespace(request_states=states)) == 102 + 7


def test_steps_without_a_row_of_the_step_before_get_what_others_take_around_the_model():
    steps = [
        EngineStep(0, 9, 9, 1, 0.010, 0.0),
        EngineStep(9, 1, 0, 1, 0.004, 0.006),
        EngineStep(9, 1, 0, 1, 0.004, 0.005),
        EngineStep(9, 1, 0, 1, 0.004, 0.009),
    ]
    assert [seconds for _, seconds in measure.with_seconds(steps)] == pytest.approx(
        [0.012, 0.006, 0.005, 0.009]
    )
    assert measure.with_seconds(steps[:1])[0][1] == 0.010


def test_batches_cover_all_shapes_that_fit():
    order = measure.batches(2048, rounds=2, seed=1)
    assert order != sorted(order, key=lambda batch: (batch.prompt_tokens, batch.prompts))
    assert set(order) == set(measure.batches(2048, rounds=1, seed=2))
    assert {batch.prompt_tokens for batch in order} == {64, 256, 1024}
    assert max(batch.prompts * batch.prompt_tokens for batch in order) == 32_768
    assert {batch.prompt_tokens for batch in measure.batches(100, rounds=1, seed=1)} == {64}


class Engine:
    """Answers as the plug-in does; a word is a token, and each POST of prompts two steps by `TRUTH`."""

    def __init__(self, *, recording=True, status=200):
        self.recording, self.status = recording, status
        self.steps, self.asked = [], []

    def __call__(self, request):
        body = json.loads(request.content or b"{}")
        if self.status != 200:
            return httpx.Response(self.status, text="no")
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "toy", "max_model_len": 600}]})
        if request.url.path == "/spark_llm/v1/steps":
            if request.method == "POST":
                self.steps.clear()
            return httpx.Response(200, json={"recording": self.recording, "steps": self.steps})
        prompts = [messages[0]["content"] for messages in body["messages"]]
        self.asked += prompts
        tokens, rows = sum(len(prompt.split()) for prompt in prompts), len(prompts)
        self.steps.append([0, tokens, tokens, rows, TRUTH.predict(0, tokens, rows), 0.0])
        self.steps.append([tokens, rows, 0, rows, 0.001, TRUTH.predict(tokens, rows, rows)])
        results = [{"prompt_tokens": 10 + len(prompt.split())} for prompt in prompts]
        assert body["ignore_eos"] is True
        return httpx.Response(200, json={"results": results})


def measured(engine):
    async def run():
        async with httpx.AsyncClient(transport=httpx.MockTransport(engine), base_url="http://engine") as http:
            return await measure.measure(http, 1, 7, lambda *_: None)

    return asyncio.run(run())


def test_measuring_an_engine_finds_what_its_steps_cost():
    engine = Engine()
    model, steps = measured(engine)
    assert model == "toy"
    assert len(set(engine.asked)) == len(engine.asked)
    assert len(steps) == len(engine.steps)
    fit = measure.fit_steps([step for step in steps if step.period_s], H100_8B)
    assert fit is not None
    assert fit.r2_held_out > 0.99
    assert fit.step_time.predict(4096, 16, 16) == pytest.approx(TRUTH.predict(4096, 16, 16), rel=0.05)


def test_an_engine_that_cannot_be_measured_says_why():
    with pytest.raises(SparkLLMError, match="enable-logging-iteration-details") as refused:
        measured(Engine(recording=False))
    assert refused.value.condition == "LLM_INVALID_CONF"
    with pytest.raises(SparkLLMError, match="HTTP 503") as failed:
        measured(Engine(status=503))
    assert failed.value.condition == "LLM_ENGINE_FAILED"
    assert measure.fit_steps([EngineStep(1, 1, 0, 1, 0.1, 0.1)] * 5, H100_8B) is None


def test_a_socket_where_nothing_listens(tmp_path, capsys):
    arguments = ["profile", "--socket", str(tmp_path / "none.sock"), "--out", str(tmp_path / "fit.json")]
    assert cli.main(arguments) == 2
    assert "nothing answers at" in capsys.readouterr().err
    assert not (tmp_path / "fit.json").exists()


def fit():
    steps = [
        EngineStep(n * 100, n + m, m, n + 1, 0.001, TRUTH.predict(n * 100, n + m, n + 1))
        for n in range(20)
        for m in (0, 50, 300)
    ]
    found = measure.fit_steps(steps, H100_8B)
    assert found is not None
    return found


def test_a_fit_is_written_and_read_again(tmp_path):
    path = tmp_path / "new" / "fit.json"
    write_fit(path, fit(), "toy")
    assert read_step_time(path) == fit().step_time
    assert json.loads(path.read_text())["model"] == "toy"
    old = json.loads(path.read_text())
    old["step_time"]["added_later_s"] = 1.0
    del old["step_time"]["prefill_token_s"]
    path.write_text(json.dumps(old))
    assert read_step_time(path).prefill_token_s is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"step_time": {"kv_s": 1}}', '{"step_time": {"kv_s": NaN, "token_s": 1, '
             '"sequence_s": 1, "base_s": 1}}', '{"step_time": 3}', "[]"],
)  # fmt: skip
def test_a_file_that_is_no_fit_is_refused(tmp_path, text):
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(SparkLLMError, match="spark-llm profile has written") as refused:
        read_step_time(path)
    assert refused.value.condition == "LLM_INVALID_CONF"
    with pytest.raises(SparkLLMError, match="No such file"):
        read_step_time(tmp_path / "none.json")
    with pytest.raises(SparkLLMError, match="cannot be written"):
        write_fit(path / "below", fit(), "toy")


def test_the_engine_is_started_with_what_the_user_set_and_told_to_tell(tmp_path, monkeypatch):
    started = {}

    class Started:
        def __init__(self, settings):
            started.update(settings)

        def __enter__(self):
            return "socket"

        def __exit__(self, *_):
            return None

    steps = [EngineStep(n * 100, n, 0, n, 0.001, TRUTH.predict(n * 100, n, n)) for n in range(1, 20)]
    monkeypatch.setattr("spark_llm.engine.started.started_engine", Started)
    monkeypatch.setattr(measure, "measure_socket", lambda *_: ("toy", steps))
    monkeypatch.delenv("SPARK_CONF_DIR", raising=False)
    monkeypatch.delenv("SPARK_HOME", raising=False)
    options = argparse.Namespace(
        conf=["spark.llm.model=m", 'spark.llm.engine.args={"seed": 3}', "spark.master=local"],
        socket=None, out=tmp_path / "fit.json", rounds=1, prior="h100-8b", seed=7,
    )  # fmt: skip
    assert command.run(options) == 0
    assert started.keys() == {"spark.llm.model", "spark.llm.engine.args"}
    arguments = json.loads(started["spark.llm.engine.args"])
    assert arguments == {"seed": 3, "enable-logging-iteration-details": True}
    assert read_step_time(tmp_path / "fit.json").base_s > 0
