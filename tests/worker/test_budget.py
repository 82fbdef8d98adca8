"""The budget as a worker keeps it: what is leased is sent, what comes back is settled, the rest is NULL."""

import json
import os
import socket
import threading
from concurrent.futures import Future

import pytest
from worker_helpers import batch, spec

from spark_llm.conf import parse_conf
from spark_llm.engine.types import EngineAnswer, EngineRequest
from spark_llm.errors import SparkLLMError
from spark_llm.worker import load_command
from spark_llm.worker.budget import BudgetGate, TaskId, usage
from spark_llm.worker.port import Port


class FakeDriver:
    """Grants `budget` requests in all; settled ones do not come back."""

    def __init__(self, budget, later=0):
        self.left, self.later = budget, later
        self.calls = []
        self.numbers = iter(range(1, 1000))

    def call(self, op, **fields):
        self.calls.append((op, fields))
        if op == "settle":
            return {}
        if self.later:
            self.later -= 1
            return {"granted": 0, "wait_s": 0.25}
        granted = min(self.left, len(fields["bytes"]))
        self.left -= granted
        if not granted:
            return {"granted": 0, "exceeded": True, "spent": "9 tok", "allowed": "9tok"}
        return {"granted": granted, "lease": next(self.numbers)}

    def of(self, op):
        return [fields for name, fields in self.calls if name == op]


@pytest.fixture
def driver(monkeypatch):
    def use(budget, later=0):
        made = FakeDriver(budget, later)
        monkeypatch.setattr(Port, "open", lambda environ: made)
        return made

    return use


def rows(conf, *values, batches=1):
    function, _ = load_command(
        spec(names=("x",), conf={"spark.llm.budget": "5ktok", "spark.llm.maxInFlightRows": "8", **conf})
    )
    return [
        row for out in function(iter([batch(*((v,) for v in values))] * batches)) for row in out.to_pylist()
    ]


def test_rows_that_the_budget_does_not_reach_say_so_and_the_others_keep_their_answers(engine, driver):
    stub, _ = engine(lambda user: "yes"), driver(5)
    result = rows({}, *"abcdefgh")
    assert len(stub.users) == 5
    assert [r["value"] for r in result].count("yes") == 5
    over = [r for r in result if r["condition"]]
    assert {r["condition"] for r in over} == {"LLM_BUDGET_EXCEEDED"}
    assert len(over) == 3
    assert all(r["requests"] == 0 and "9tok" in r["message"] for r in over)


def test_equal_rows_are_still_answered_when_nothing_is_left(engine, driver):
    stub, _ = engine(lambda user: "yes"), driver(4)
    result = rows({}, *"abcd", batches=3)
    assert len(stub.users) == 4
    assert [r["value"] for r in result] == ["yes"] * 12


def test_on_exceeded_fail_raises_with_both_amounts(engine, driver):
    engine(lambda user: "yes")
    driver(2)
    with pytest.raises(SparkLLMError) as raised:
        rows({"spark.llm.budget.onExceeded": "fail"}, *"abcdefgh")
    assert (raised.value.condition, raised.value.sqlstate) == ("LLM_BUDGET_EXCEEDED", "53400")
    assert "9 tok" in str(raised.value)
    assert "9tok" in str(raised.value)


def test_every_lease_is_settled_with_what_the_engine_counted(engine, driver):
    engine(lambda user: "yes", delay_s=0.01)
    made = driver(6)
    rows({}, *"abcdefgh")
    settled = made.of("settle")
    assert sum(s["prompt"] for s in settled) == 60
    assert sum(s["answer"] for s in settled) == 12
    assert sorted(s["lease"] for s in settled) == list(range(1, len(settled) + 1))


def test_without_a_budget_nobody_is_asked(engine, driver):
    engine(lambda user: "yes")
    made = driver(0)
    function, _ = load_command(spec(names=("x",)))
    assert [r["value"] for out in function(iter([batch(("a",))])) for r in out.to_pylist()] == ["yes"]
    assert made.calls == []


def test_waits_for_refunds_of_others():
    slept, made = [], FakeDriver(3, later=2)
    gate = BudgetGate(parse_conf({"spark.llm.budget": "1ktok"}), made, TaskId("7", 1), slept.append)
    lease = gate.lease([EngineRequest("s", "ü")] * 4, 16, wait=True)
    assert (lease.requests, lease.bytes, slept) == (3, [3, 3, 3], [0.25, 0.25])
    assert made.of("lease")[0]["query"] == "7"
    made.later = 1
    assert gate.lease([EngineRequest("s", "u")], 16, wait=False) is None
    assert gate.exceeded is None


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_requests_nobody_knows_about_are_reported_lost(end):
    made = FakeDriver(3)
    gate = BudgetGate(parse_conf({"spark.llm.budget": "1ktok"}), made, TaskId("7", 1))
    lease, future, good = gate.lease([EngineRequest("s", "u")] * 2, 16, wait=True), Future(), Future()
    gate.sent(lease, [good, future])
    good.set_result([EngineAnswer("x", None, None, 50, 32, 1, "stop")])
    future.cancel() if end == "cancelled" else future.set_exception(OSError("gone"))
    gate.close()
    assert made.of("settle") == [{"query": "7", "lease": 1, "lost": True}]


def test_an_engine_that_counts_nothing_has_spent_all_the_same():
    silent = EngineAnswer("12345678", None, None, 0, 0, 0, "stop")
    refused = EngineAnswer(None, "LLM_REQUEST_REJECTED", "no", 0, 0, 0, None)
    counted = EngineAnswer("x", None, None, 50, 32, 1, "stop")
    assert usage([silent, refused, counted], [40, 40, 100]) == (60, 32, 3, 0.5)


@pytest.fixture
def server(tmp_path):
    """Answers each line with itself and the number of its connection."""
    path = tmp_path / "port.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve(connection, number):
        lines = connection.makefile("rwb")
        for line in lines:
            asked = json.loads(line)
            if asked["op"] == "hang up":
                break
            reply = {"error": "no such op"} if asked["op"] == "wrong" else {**asked, "connection": number}
            lines.write(json.dumps(reply).encode() + b"\n")
            lines.flush()
        lines.close()
        connection.close()

    def accept():
        number = 0
        while True:
            connection, _ = listener.accept()
            number += 1
            threading.Thread(target=serve, args=(connection, number), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return path


def test_a_call_is_a_line_and_its_reply_a_line(server):
    assert Port.open({}) is None
    port = Port.open({"SPARK_LLM_PORT": str(server)})
    assert port.call("pace", text="a\nb") == {"op": "pace", "text": "a\nb", "connection": 1}
    with pytest.raises(SparkLLMError, match="no such op"):
        port.call("wrong")
    with pytest.raises(SparkLLMError, match="does not answer"):
        port.call("hang up")
    assert port.call("pace")["connection"] == 2


def test_a_forked_worker_opens_its_own_connection(server):
    port = Port(str(server))
    assert port.call("pace")["connection"] == 1
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(port.call("pace")["connection"]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"2"
    assert port.call("pace")["connection"] == 1


def test_nobody_listens(tmp_path):
    with pytest.raises(SparkLLMError, match="LLM_ENGINE_FAILED"):
        Port(str(tmp_path / "none.sock")).call("pace")
