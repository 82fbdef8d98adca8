"""Parts two and three of in_flight.py: a table through the Python worker, in each sending mode."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import harness

MODES = ("as they come", "shared", "leader", "interleave")
LAGS = (0, 8, 64)
TASKS = 4
SMALL_KV = "6m"
FIELDS = ("text", "title", "city", "name", "details")
BATCH_ROWS = 256
START_TIMEOUT_S = 300


def measure(model: Path, count: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Returns table rows and gates."""
    table = shop_rows(count, seed)
    found = [fake(table, mode, lag) for lag in LAGS for mode in MODES]
    by_fake = {(row["case"], row["sent"]): row["found"] for row in found}
    with tempfile.TemporaryDirectory() as folder, Engine(model, Path(folder) / "e") as engine:
        modes = [engine.ask(mode, [table], "vLLM server", "one task") for mode in MODES]
    # Field order is part of the prompt, so answers are compared between the modes of one plan.
    answers = [row.pop("answers") for row in modes]
    by_vllm = {row["sent"]: row["found"] for row in modes}
    parts = [table[at::TASKS] for at in range(TASKS)]
    shared = []
    for policy in ("priority", "fcfs"):
        # A cache of a few prompts: tasks that take turns drop each other's prefixes.
        arguments = json.dumps({"scheduling-policy": policy, "max-num-seqs": 8})
        conf = {"engine.kvCacheMemory": SMALL_KV, "engine.args": arguments, "maxInFlightRows": "32"}
        with tempfile.TemporaryDirectory() as folder, Engine(model, Path(folder) / "e", conf) as engine:
            shared.append(engine.ask("shared", parts, f"vLLM server, {policy}, small KV", f"{TASKS} tasks"))
            del shared[-1]["answers"]
    found += [*modes, *shared]
    gates = {
        "vllm_shared_over_leader": harness.gate(by_vllm["shared"] / by_vllm["leader"], 0.99),
        "vllm_shared_over_interleave": harness.gate(by_vllm["shared"] / by_vllm["interleave"], 0.99),
        "fake_lag8_interleave_over_lag0": harness.gate(
            by_fake["lag 8", "interleave"] / by_fake["lag 0", "shared"], 0.9
        ),
        "fake_lag64_leader_over_shared": harness.gate(
            by_fake["lag 64", "leader"] / max(1e-9, by_fake["lag 64", "shared"]), 1.5
        ),
        "priority_over_fcfs": harness.gate(shared[0]["found"] / shared[1]["found"], 1.0),
        "distinct_answer_sets_of_the_modes": harness.gate(len(set(answers[1:])), 1, at_least=False),
    }
    return found, gates


def shop_rows(count: int, seed: int) -> list[tuple[str, ...]]:
    """Reviews of the demo's shop beside their product, in no order; a product has about 60 words."""
    from spark_llm.demo.tables import shop_tables

    tables = shop_tables(seed, count)
    products = {row["id"]: row for row in tables["products"].to_pylist()}
    words = [row["description"] for row in products.values()]
    rows = []
    for review in tables["reviews"].to_pylist():
        product = products[review["product_id"]]
        near = [words[(product["id"] + step) % len(words)] for step in range(4)]
        details = " ".join([product["description"], *near])
        rows.append((review["text"], review["title"], review["city"], product["name"], details))
    random.Random(seed).shuffle(rows)
    return rows


def batches(rows: list[tuple[str, ...]]) -> Any:
    """Rows as the JVM sends them."""
    import pyarrow as pa

    for start in range(0, len(rows), BATCH_ROWS):
        columns = zip(*rows[start : start + BATCH_ROWS], strict=True)
        texts = [[json.dumps({"v": value}, separators=(",", ":")) for value in column] for column in columns]
        names = [f"f{place}" for place in range(len(texts))]
        yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in texts], names=names)


def task(
    rows: list[tuple[str, ...]], mode: str, conf: dict[str, str], environ: dict[str, str]
) -> tuple[int, int, list[Any]]:
    """Runs the worker on a partition; returns prompt tokens, cached prompt tokens and answers."""
    from spark_llm.worker.command import parse_spec
    from spark_llm.worker.pipeline import run

    call = {"instruction": "Which product is named in the review?", "field_names": FIELDS, "max_tokens": 4}
    chosen = {"spark.llm.reorderRows.enabled": "false"} if mode == MODES[0] else {"spark.llm.inFlight": mode}
    spec = {"version": 2, "call": {**call, "return_type": '"string"'}, "conf": {**conf, **chosen}}
    parsed, settings = parse_spec(json.dumps(spec))
    prompt = cached = 0
    answers: list[Any] = []
    for result in run(parsed, settings, batches(rows), environ):
        prompt += sum(result.column("prompt_tokens").to_pylist())
        cached += sum(result.column("cached_prompt_tokens").to_pylist())
        answers += result.column("value").to_pylist()
    return prompt, cached, answers


def fake(rows: list[tuple[str, ...]], mode: str, lag: int) -> dict[str, Any]:
    """One mode against the fake engine, whose limit of requests in flight is the lag."""
    from spark_llm.worker import clients

    clients.close_all()
    conf = {"spark.llm.engine.kind": "fake", "spark.llm.fake.lag": str(lag)}
    # What the worker believes about the engine is told by the limit of an endpoint or, here, of the task.
    conf["spark.llm.maxInFlightRows"] = str(lag) if lag else "1024"
    prompt, cached, _ = task(rows, mode, conf, {})
    return {
        "engine": "fake", "case": f"lag {lag}", "requests": len(rows), "sent": mode,
        "cached_tokens": cached, "found": cached / prompt,
    }  # fmt: skip


class Engine:
    """A vLLM server under the supervisor that executors use."""

    def __init__(self, model: Path, folder: Path, conf: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._conf = {"spark.llm.model": str(model), "spark.llm.engine.maxModelLen": "512"}
        self._conf |= {f"spark.llm.{key}": value for key, value in (conf or {}).items()}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spark_llm.engine.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"dir": str(self._folder), "conf": self._conf}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            state = json.loads(line).get("state")
            if state == "ready":
                return self
            if state in {"failed", "stopped"}:
                break
        raise RuntimeError("the engine did not start")

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def ask(self, mode: str, parts: list[list[tuple[str, ...]]], engine: str, case: str) -> dict[str, Any]:
        """One mode, from an empty prefix cache; each part is a task on a thread of its own."""
        import httpx

        socket = str(self._folder / "engine.sock")
        environ = {"SPARK_LLM_ENGINE_SOCKET": socket,
                   "SPARK_LLM_ENGINE_STATE": str(self._folder / "state.json")}  # fmt: skip
        transport = httpx.HTTPTransport(uds=socket)
        with (
            httpx.Client(transport=transport, base_url="http://engine", timeout=60) as http,
            ThreadPoolExecutor(len(parts)) as pool,
        ):
            http.post("/spark_llm/v1/clock").raise_for_status()
            done = list(pool.map(lambda rows: task(rows, mode, self._conf, environ), parts))
            clock = http.get("/spark_llm/v1/clock").json()
        prompt, cached = (sum(each[place] for each in done) for place in (0, 1))
        return {
            "engine": engine, "case": case, "requests": clock["requests"], "sent": mode,
            "cached_tokens": cached, "found": cached / prompt, "engine_s": clock["span_s"],
            "answers": json.dumps([each[2] for each in done]),
        }  # fmt: skip
