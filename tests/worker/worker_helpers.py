"""Helpers of the worker's tests: a spec as the JVM writes it, batches, and an engine made of a function."""

import json
import random
import threading
import time
from concurrent.futures import Future

import pyarrow as pa

from spark_llm.engine.types import EngineAnswer
from spark_llm.worker import load_command


def spec(
    return_type='"string"', *, names=("city", "review"), instruction="Is it about food?", conf=None, **call
):
    """The JSON that the JVM sends."""
    return json.dumps(
        {
            "version": 6,
            "call": {
                "instruction": instruction,
                "field_names": list(names),
                "model": None,
                "return_type": return_type,
                "on_error": "fail",
                "temperature": 0.0,
                "max_tokens": None,
                "seed": None,
                **call,
            },
            "conf": {"spark.llm.engine.kind": "fake", **(conf or {})},
        }
    )


def field_text(value):
    """A field as the JVM's to_json writes it."""
    return "{}" if value is None else json.dumps({"v": value}, ensure_ascii=False, separators=(",", ":"))


def batch(*rows, instructions=None, kind=None):
    """A batch of rows of field values; one column "row" when there are no fields."""
    kind = kind or pa.string()
    fields = enumerate(zip(*rows, strict=True))
    columns = {f"f{place}": pa.array([*map(field_text, column)], kind) for place, column in fields}
    if instructions is not None:
        columns["instruction"] = pa.array(instructions, kind)
    if not columns:
        columns["row"] = pa.array([0] * len(rows), pa.int32())
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def run(spec_json, *batches):
    """Rows that the worker returns, as dicts."""
    function, _ = load_command(spec_json)
    return [row for result in function(iter(batches)) for row in result.to_pylist()]


def answered(text, finish_reason="stop"):
    """An answer with plausible usage."""
    return EngineAnswer(text, None, None, 10, 4, 2, finish_reason)


class StubEngine:
    """Answers with `reply(user)`, in this thread, or late and out of order."""

    def __init__(self, reply, delay_s=0.0):
        self.reply = reply
        self.delay_s = delay_s
        self.submits = []
        self.closed = False

    @property
    def users(self):
        return [request.user for requests, _ in self.submits for request in requests]

    def submit(self, requests, sampling):
        self.submits.append((list(requests), sampling))
        future = Future()
        if self.delay_s:
            threading.Thread(target=self._later, args=(future, requests), daemon=True).start()
        else:
            self._answer(future, requests)
        return future

    def close(self):
        self.closed = True

    def _later(self, future, requests):
        time.sleep(random.random() * self.delay_s)
        self._answer(future, requests)

    def _answer(self, future, requests):
        if not future.set_running_or_notify_cancel():
            return
        try:
            answers = [self.reply(request.user) for request in requests]
            future.set_result([a if isinstance(a, EngineAnswer) else answered(a) for a in answers])
        except Exception as error:  # noqa: BLE001  it belongs to whoever waits
            future.set_exception(error)
