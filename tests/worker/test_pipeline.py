import json
import threading
import time

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worker_helpers import StubEngine, answered, batch, run, spec

from spark_llm.engine.types import EngineAnswer
from spark_llm.errors import SparkLLMError, engine_failed
from spark_llm.worker import clients, load_command
from spark_llm.worker.planning import WindowPlanner

CELLS = st.none() | st.sampled_from(["a", "b"]) | st.text(max_size=5)
BATCHES = st.lists(st.lists(st.tuples(CELLS, CELLS), max_size=6), max_size=6)
CONF = st.fixed_dictionaries(
    {
        "maxInFlightRows": st.integers(1, 20),
        "planner.windowRows": st.integers(1, 30),
        "dedup.enabled": st.booleans(),
        "reorderRows.enabled": st.booleans(),
        "reorderFields.enabled": st.booleans(),
        "inFlight": st.sampled_from(["auto", "shared", "leader", "interleave"]),
        "planner.policy": st.sampled_from(["default", "fixed", "tree", "ggr", "original"]),
    }
)


def conf_of(values):
    return {f"spark.llm.{key}": str(value).lower() for key, value in values.items()}


def echo(user):
    """The row of a message, whatever the order of its fields."""
    return json.dumps(json.loads(user.removeprefix("q\n")), sort_keys=True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES, CONF, st.sampled_from([pa.string(), pa.large_string()]))
def test_answers_come_back_in_input_order(engine, batches, conf, kind):
    stub = engine(echo, delay_s=0.003)
    rows = run(
        spec(conf=conf_of(conf), instruction="q"),
        *[batch(*rows, kind=kind) if rows else _empty() for rows in batches],
    )
    expected = [answer_to(row) for rows in batches for row in rows]
    assert [row["value"] for row in rows] == expected
    asked = [answer for answer in expected if answer is not None]
    assert sorted(map(echo, stub.users)) == sorted(set(asked) if conf["dedup.enabled"] else asked)
    assert sum(row["requests"] for row in rows) == len(stub.users)
    assert sum(row["prompt_tokens"] for row in rows) == 10 * len(stub.users)


def answer_to(row):
    present = {name: value for name, value in zip(("city", "review"), row, strict=True) if value is not None}
    return json.dumps(present, sort_keys=True) if present else None


def _empty():
    return pa.RecordBatch.from_arrays([pa.array([], pa.string())] * 2, names=["f0", "f1"])


def test_usage_is_on_the_row_that_asked_and_the_wait_on_the_first(engine):
    engine(lambda user: "x", delay_s=0.001)
    rows = run(spec(names=["a"]), batch(["p"], [None], ["p"]))
    assert [row["requests"] for row in rows] == [1, 0, 0]
    assert [row["cached_prompt_tokens"] for row in rows] == [4, 0, 0]
    assert [row["generated_tokens"] for row in rows] == [2, 0, 0]
    assert [row["engine_wait_ms"] for row in rows][1:] == [0, 0]


def test_a_call_without_fields_answers_every_row(engine):
    engine(lambda user: user)
    assert [r["value"] for r in run(spec(names=[], instruction="Hi"), batch((), ()))] == ["Hi", "Hi"]


def test_the_instruction_can_be_a_column(engine):
    stub = engine(lambda user: user)
    rows = run(
        spec(names=["a"], instruction=None), batch(["x"], ["x"], [None], instructions=["q1", None, "q3"])
    )
    assert [row["value"] for row in rows] == ['q1\n{"a": "x"}', None, None]
    assert len(stub.users) == 1
    rows = run(spec(names=[], instruction=None), batch((), (), instructions=["q1", None]))
    assert [row["value"] for row in rows] == ["q1", None]


def test_no_client_is_opened_where_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(clients, "client_for", lambda *_: pytest.fail("opened"))
    assert run(spec()) == []
    assert run(spec(), _empty()) == []
    assert [row["value"] for row in run(spec(), batch([None, None]))] == [None]


def test_ten_megabytes_and_odd_characters_pass(engine):
    big = 'é"\\\n\t\x00\u2028' * 1_000_000
    stub = engine(lambda user: user[-20_000_000:])
    (row,) = run(spec(names=['a"\n%s']), batch([big]))
    assert row["value"] == stub.users[0]
    assert len(stub.users[0]) > 10_000_000


class Gate(StubEngine):
    """Answers nothing until it is opened."""

    def __init__(self):
        super().__init__(lambda user: "x", delay_s=1)
        self.open = threading.Event()

    def _later(self, future, requests):
        self.open.wait(10)
        self._answer(future, requests)


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "did not come to it"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("conf", "same", "sent", "read"),
    [
        # Windows of one batch, then two; two of the second window's rows wait for room.
        ({"maxInFlightRows": "4"}, False, 4, 3),
        ({"maxInFlightRows": "12", "planner.windowRows": "1"}, False, 12, 7),
        ({"maxInFlightRows": "6", "reorderRows.enabled": "false"}, False, 6, 4),
        # Equal rows need one answer, and still no more than two windows of them are held.
        ({"maxInFlightRows": "8", "planner.windowRows": "8"}, True, 1, 8),
        # A batch has about 60 bytes: six of them are two windows.
        ({"planner.windowRows": "1000", "planner.windowBytes": "150"}, False, 12, 6),
    ],
)
def test_what_is_read_and_what_is_asked_is_bounded(monkeypatch, conf, same, sent, read):
    gate, reads, results = Gate(), [], []
    monkeypatch.setattr(clients, "client_for", lambda *_: gate)

    def reading():
        for number in range(40):
            reads.append(number)
            yield batch(["a", "x"], ["a", "x"]) if same else batch([f"{number}a", "x"], [f"{number}b", "x"])

    function, _ = load_command(spec(conf={f"spark.llm.{key}": value for key, value in conf.items()}))
    thread = threading.Thread(target=lambda: results.extend(function(reading())), daemon=True)
    thread.start()
    until(lambda: len(gate.users) >= sent and len(reads) >= read)
    thread.join(0.1)
    assert (len(gate.users), len(reads), results) == (sent, read, [])
    gate.open.set()
    thread.join(10)
    assert len(results) == 40
    assert len(gate.users) == (1 if same else 80)


def test_a_finished_batch_is_given_back_before_more_is_read(engine):
    engine(lambda user: "x")
    read = []

    def reading():
        for number in range(5):
            read.append(number)
            yield batch([str(number), ""])

    function, _ = load_command(spec())
    results = function(reading())
    next(results)
    assert read == [0]


@pytest.mark.parametrize("kept", [True, False])
def test_answers_that_wait_for_others_come_early_where_they_are_kept(monkeypatch, kept):
    opened = threading.Event()

    class FirstIsSlow(StubEngine):
        def _answer(self, future, requests):
            if "slow" in requests[0].user:
                threading.Thread(
                    target=lambda: (opened.wait(10), super(FirstIsSlow, self)._answer(future, requests)),
                    daemon=True,
                ).start()
            else:
                super()._answer(future, requests)

    refused = EngineAnswer(None, "LLM_REQUEST_REJECTED", "no", 0, 0, 0, None)
    stub = FirstIsSlow(lambda user: refused if "bad" in user else user[-6:])
    monkeypatch.setattr(clients, "client_for", lambda *_: stub)
    batches = [batch(["slow"]), batch(["a"], [None], ["b"]), batch(["a"], ["bad"], ["c"])]
    conf = {"spark.llm.reorderRows.enabled": "false"}
    results = load_command(spec(names=["x"], conf=conf, kept=kept))[0](iter(batches))
    if kept:
        early = [row for _ in range(2) for row in next(results).to_pylist()]
        assert [(row["early"], row["value"], row["requests"]) for row in early] == [
            (1, ': "a"}', 1), (3, ': "b"}', 1), (6, ': "c"}', 1),
        ]  # fmt: skip
    opened.set()
    rows = [row for result in results for row in result.to_pylist()]
    assert [row["early"] for row in rows] == [-1] * 7
    assert [row["requests"] for row in rows] == [1, 1, 0, 1, 0, 1, 1]


def test_windows_double_from_one_batch_on(engine, monkeypatch):
    engine(lambda user: "x")
    windows = []
    plan = WindowPlanner.plan

    def watched(self, questions, *rest):
        windows.append(len(questions))
        return plan(self, questions, *rest)

    monkeypatch.setattr(WindowPlanner, "plan", watched)
    batches = [batch([f"{number}", "a"], [f"{number}", "b"]) for number in range(30)]
    run(spec(conf={"spark.llm.planner.windowRows": "16"}), *batches)
    assert windows == [2, 4, 8, 16, 16, 14]


def test_what_is_under_way_is_cancelled_when_nobody_wants_it():
    cancelled = []

    class Pending(StubEngine):
        def submit(self, requests, sampling):
            future = super().submit(requests, sampling)
            future.add_done_callback(lambda done: cancelled.append(done.cancelled()))
            return future

        def _later(self, future, requests):
            pass

    first = StubEngine(lambda user: "x", delay_s=0.2)
    pending = Pending(lambda user: "x", delay_s=1)
    engines = iter([first, pending, pending])
    function, _ = load_command(spec(conf={"spark.llm.maxInFlightRows": "2"}))
    old, clients.client_for = clients.client_for, lambda *_: next(engines)
    try:
        results = function(batch([str(number), ""]) for number in range(3))
        next(results)
        results.close()
    finally:
        clients.client_for = old
    assert cancelled == [True, True]


def test_a_refused_row_is_a_row_with_a_condition(engine):
    refused = EngineAnswer(None, "LLM_REQUEST_REJECTED", "too rude \ud800", 0, 0, 0, None)
    engine(lambda user: refused if "bad" in user else "ok")
    rows = run(spec(), batch(["good", ""], ["bad", ""]))
    assert [(r["value"], r["condition"], r["message"]) for r in rows] == [
        ("ok", None, None),
        (None, "LLM_REQUEST_REJECTED", "too rude ?"),
    ]


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (
            engine_failed("it died", "/x/log"),
            "[LLM_ENGINE_FAILED] The engine failed: it died. Its log: /x/log.",
        ),
        (OSError("gone"), "[LLM_ENGINE_FAILED] The engine failed: OSError: gone."),
    ],
)
def test_an_engine_failure_raises_and_the_client_is_forgotten(engine, monkeypatch, raised, text):
    forgotten = []
    monkeypatch.setattr(clients, "forget", lambda *_: forgotten.append(1))

    def fail(user):
        raise raised

    engine(fail)
    with pytest.raises(SparkLLMError) as error:
        run(spec(), batch(["a", "b"]))
    assert str(error.value).startswith(text)
    assert "SQLSTATE: 58000" in str(error.value)
    assert forgotten == [1]


def test_a_lost_answer_is_an_engine_failure(monkeypatch, engine):
    stub = engine(lambda user: "x")
    stub._answer = lambda future, requests: future.set_result([answered("x")])
    with pytest.raises(SparkLLMError, match="2 prompts were sent and 1 answers came back"):
        run(spec(), batch(["a", "b"], ["c", "d"]))


def test_another_release_of_the_jar_is_told():
    with pytest.raises(SparkLLMError, match="the jar speaks version 4"):
        load_command('{"version": 4}')


def test_a_wrong_setting_is_told():
    with pytest.raises(SparkLLMError, match="LLM_UNKNOWN_CONF"):
        load_command(spec(conf={"spark.llm.batchrows": "1"}))
