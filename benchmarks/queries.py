"""What do the paper's kinds of query cost? Naive, prefix cache with the written order, and the plug-in.

    naive           a pandas UDF that asks row by row (spark_llm.demo.plain_udf), on the first rows of the
                    table; its seconds are scaled up to all rows
    written order   the plug-in with row order, field order and equal rows as they are; prefix cache on
    ours, no dedup  the plug-in's defaults, but equal questions are asked as often as they come
    ours            the plug-in's defaults

Seconds are by the engine's own clock: from the arrival of the first request to the end of the last answer,
the prefix cache being empty at the start. `engine_cpu_s` is the processor time of the engine's process, to
which other work on the machine adds nothing. The fake engine has no clock; seconds are those of the query
then. The variants of a query run one after the other, so what else the machine does meets all of them.

Per query, `bound_times` says how many times fewer tokens are left to compute than the written order computed
if all is shared that the thorough planner can share in whole blocks, each request with the one before it;
`cell_bound_times` that no order of fields and rows can beat whatever the planner (see bound.py). Rows are
whole groups of the table, in the table's order; see query_kinds.sample.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import bound
import engine_path
import harness
import pyarrow as pa
import pyarrow.parquet as pq
import query_kinds
import random_model
import scale
from query_kinds import Call, Query
from scorer import RuleTokenizer

from spark_llm.analyze.cells import cut_into_cells, head_text
from spark_llm.engine.fake_cache import BLOCK_TOKENS as FAKE_BLOCK_TOKENS
from spark_llm.engine.vllm_args import CPU_BLOCK_TOKENS

WRITTEN, NO_DEDUP, OURS, NAIVE = "written order", "ours, no dedup", "ours", "naive"
_OFF: Final = {"spark.llm.dedup.enabled": "false"}
VARIANTS: Final = {
    WRITTEN: {
        **_OFF,
        "spark.llm.reorderRows.enabled": "false",
        "spark.llm.reorderFields.enabled": "false",
        "spark.llm.planner.policy": "original",
    },
    NO_DEDUP: _OFF,
    OURS: {},
}
CHANGED: Final = tuple(VARIANTS[WRITTEN])
BOUND_STEPS: Final = 1e10
_KEPT: Final = 0.5
FASTEST, MOST, NEVER_SLOWER = 3.4, 1.5, 0.95


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--data", type=Path, help="folder of Parquet tables (default: real ones, else generated)"
    )
    parser.add_argument("--engine", choices=("vllm", "fake"), default="vllm")
    parser.add_argument("--tables", help="only these, separated by commas")
    parser.add_argument("--kinds", help="only these, by their beginning (T1,T5), separated by commas")
    parser.add_argument("--rows", type=int, help="rows per query, at most (default: by --budget)")
    parser.add_argument(
        "--budget", type=int, default=60_000, help="tokens of the cells per query, about (default 60,000)"
    )
    parser.add_argument(
        "--plain-rows", type=int, default=12, help="rows asked one by one (default 12, 0: none)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each; the best counts (default 1)")
    parser.add_argument(
        "--cache", type=int, default=16_384, help="tokens the KV cache holds (default 16,384)"
    )
    parser.add_argument("--model", type=Path, help="model folder (default: a random one, made here)")
    parser.add_argument("--hidden-size", type=int, default=384, help="of the random model (default 384)")
    parser.add_argument("--layers", type=int, default=8, help="of the random model (default 8)")
    parser.add_argument("--seed", type=int, default=7, help="of the sample and of the model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        queries, tables = chosen(options, Path(folder))
        rows = Bench(options, tables, Path(folder)).run(queries)
    harness.report(rows, gates(rows), options.json)


def chosen(options: argparse.Namespace, folder: Path) -> tuple[list[Query], dict[str, pa.Table]]:
    """Returns the queries to run and their tables, sampled."""
    data = options.data or harness.ROOT.parent / "shared" / "data"
    wanted = list(query_kinds.QUERIES)
    if not (options.data or data.is_dir()):
        data, wanted = _shop(folder, options.seed), list(query_kinds.SHOP)
    if options.tables:
        wanted = [query for query in wanted if query.table in options.tables.split(",")]
    if options.kinds:
        wanted = [query for query in wanted if query.kind.startswith(tuple(options.kinds.split(",")))]
    wanted = [query for query in wanted if (data / f"{query.table}.parquet").is_file()]
    if not wanted:
        raise SystemExit(f"no query for the tables of {data}; they are {sorted(_names())}")
    tables = {
        name: query_kinds.sample(data / f"{name}.parquet", options.budget, options.rows, options.seed)
        for name in dict.fromkeys(query.table for query in wanted)
    }
    return wanted, tables


def _names() -> set[str]:
    return {query.table for query in (*query_kinds.QUERIES, *query_kinds.SHOP)}


def _shop(folder: Path, seed: int) -> Path:
    from spark_llm.demo.tables import shop_tables

    tables = shop_tables(seed, 2000)
    products = tables["products"].rename_columns(
        ["product_id", *(f"product_{name}" for name in tables["products"].column_names[1:])]
    )
    pq.write_table(tables["reviews"].join(products, "product_id"), folder / "shop_reviews.parquet")
    return folder


class Bench:
    """The session, the engine behind it, and what is asked of them.

    Args:
        options: of the command line.
        tables: sampled, by name.
        folder: for the model and the sampled tables.
    """

    def __init__(self, options: argparse.Namespace, tables: dict[str, pa.Table], folder: Path) -> None:
        self._options, self._tables, self._folder = options, tables, folder
        self._fake = True
        self._engine: Any = None
        self._pid = self._resets = 0

    def run(self, queries: list[Query]) -> list[dict[str, Any]]:
        """Returns the lines of all queries; the file is written after each."""
        same = {query: self._same_questions(query) for query in self._with_session(queries, fake=True)}
        lines: list[dict[str, Any]] = []
        for query in self._with_session(queries, fake=self._options.engine == "fake"):
            began = time.monotonic()
            found = self.measure(query, same[query])
            lines += found
            took = time.monotonic() - began
            print(f"queries: {query.kind}, {query.table}: {took:.0f} s", file=sys.stderr, flush=True)
            for line in found:
                print("   ", json.dumps(line), file=sys.stderr, flush=True)
            if self._options.json:
                harness.write(lines, gates(lines), self._options.json)
        return lines

    def _with_session(self, queries: list[Query], *, fake: bool) -> Iterator[Query]:
        """Yields the queries while a session of the engine is open."""
        self._fake = fake
        self._spark = engine_path.session(**self._conf())
        try:
            for name, table in self._tables.items():
                path = self._folder / f"sample_{name}.parquet"
                pq.write_table(table, path)
                self._spark.read.parquet(str(path)).createOrReplaceTempView(name)
            if not fake:
                self._reach_engine({call.max_tokens for query in queries for call in query.calls})
            yield from queries
        finally:
            self._spark.stop()

    def _conf(self) -> dict[str, str]:
        cache = self._options.cache
        if self._fake:
            return {"spark.llm.engine.kind": "fake", "spark.llm.fake.cacheSize": str(cache)}
        model = self._options.model
        if model is None:
            model = self._folder / "model"
            parameters = random_model.write(
                model,
                query_kinds.texts(list(self._tables.values())),
                hidden_size=self._options.hidden_size,
                layers=self._options.layers,
                seed=self._options.seed,
            )
            print(f"queries: model of {parameters:,} parameters", file=sys.stderr, flush=True)
        shape = json.loads((model / "config.json").read_text())
        per_token = 2 * 4 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * shape["head_dim"]
        return {
            "spark.llm.engine.kind": "vllm",  # the session before had the fake one
            "spark.llm.model": str(model),
            # This processor family multiplies bfloat16 70 times slower than float32.
            "spark.llm.engine.dtype": "float32",
            "spark.llm.engine.kvCacheMemory": str(cache * per_token),
            "spark.llm.engine.maxModelLen": str(min(random_model.MAX_MODEL_LEN_TOKENS, cache)),
        }

    def _reach_engine(self, lengths: set[int]) -> None:
        import httpx

        from spark_llm.demo import plain_udf

        self._spark.sql("SELECT llm('Say hello.', max_tokens => 2)").collect()
        address = self._spark._jvm.org.apache.spark.sql.llm.EngineHost.current().get()
        self._pid = json.loads(Path(address.state()).read_text())["pid"]
        self._engine = httpx.Client(
            transport=httpx.HTTPTransport(uds=address.socket()), base_url="http://engine", timeout=60
        )
        environ = {"SPARK_LLM_ENGINE_SOCKET": address.socket(), "SPARK_LLM_ENGINE_STATE": address.state()}
        conf = {key: value for key, value in self._conf_of_session().items() if key.startswith("spark.llm.")}
        for length in lengths:
            plain_udf.register(self._spark, conf, environ, f"plain_{length}", length)

    def _conf_of_session(self) -> dict[str, str]:
        return {str(key): str(value) for key, value in self._spark.sparkContext.getConf().getAll()}

    def measure(self, query: Query, same: dict[str, bool]) -> list[dict[str, Any]]:
        """Returns the lines of a query, one per variant, best round each."""
        table = self._tables[query.table]
        columns = [name for name in table.column_names if name != "row_id"]
        best: dict[str, dict[str, Any]] = {}
        for _ in range(self._options.rounds):
            for name, settings in VARIANTS.items():
                found = self._ask(query.sql(columns, query.table), settings)
                if name not in best or found["engine_s"] < best[name]["engine_s"]:
                    best[name] = found
        lines = [{"query": query.kind, "table": query.table, "variant": name, "rows": table.num_rows, **line}
                 for name, line in best.items()]  # fmt: skip
        if not self._fake and self._options.plain_rows:
            lines.append(self._naive(query, columns, table.num_rows))
        written = best[WRITTEN]
        limits = bounds(
            query,
            table.select(columns),
            written["compute_tokens"],
            written["prompt_tokens"],
            FAKE_BLOCK_TOKENS if self._fake else CPU_BLOCK_TOKENS,
        )
        base = written["engine_s"]
        return [
            {
                **line,
                "times_faster": base / line["engine_s"],
                "same_questions": same.get(line["variant"]),
                **limits,
            }
            for line in lines
        ]

    def _set(self, settings: dict[str, str]) -> None:
        for key in CHANGED:
            self._spark.conf.unset(key)
        for key, value in settings.items():
            self._spark.conf.set(key, value)

    def _ask(self, sql: str, settings: dict[str, str]) -> dict[str, Any]:
        from spark_llm import metrics

        self._set(settings)
        cpu = self._reset()
        began = time.monotonic()
        self._spark.sql(sql).collect()
        wall = time.monotonic() - began
        cost = metrics.total(metrics.last_query(self._spark))
        engine_s = wall if self._engine is None else self._clock()["span_s"]
        return {
            "requests": cost.requests,
            "prompt_tokens": cost.prompt_tokens,
            "compute_tokens": cost.prompt_tokens - cost.cached_prompt_tokens,
            "cached_share": cost.cached_prompt_tokens / max(1, cost.prompt_tokens),
            "generated_tokens": cost.generated_tokens,
            "failed_rows": cost.failed_rows,
            "engine_s": engine_s,
            "engine_cpu_s": self._cpu_s() - cpu if self._pid else None,
            "wall_s": wall,
        }

    def _naive(self, query: Query, columns: list[str], rows: int) -> dict[str, Any]:
        count = min(rows, self._options.plain_rows)
        self._spark.table(query.table).limit(count).createOrReplaceTempView("some_rows")
        cpu = self._reset()
        began = time.monotonic()
        self._spark.sql(query.sql(columns, "some_rows", plain=True)).collect()
        wall, clock, factor = time.monotonic() - began, self._clock(), rows / count
        return {
            "query": query.kind, "table": query.table, "variant": NAIVE, "rows": rows, "asked_rows": count,
            "requests": round(clock["requests"] * factor),
            "prompt_tokens": round(clock["prompt_tokens"] * factor),
            "generated_tokens": round(clock["generated_tokens"] * factor),
            "engine_s": clock["span_s"] * factor,
            "engine_cpu_s": (self._cpu_s() - cpu) * factor, "wall_s": wall * factor,
        }  # fmt: skip

    def _reset(self) -> float:
        """Empties clock and prefix cache; returns the engine's processor seconds so far."""
        if self._engine is None:
            # A worker keeps one fake engine per setting, so a new text that no prompt contains empties it.
            self._resets += 1
            self._spark.conf.set("spark.llm.fake.fail", f"no prompt says this, {self._resets}")
            return 0.0
        self._engine.post("/spark_llm/v1/clock").raise_for_status()
        return self._cpu_s()

    def _clock(self) -> dict[str, float]:
        found: dict[str, float] = self._engine.get("/spark_llm/v1/clock").json()
        return found

    def _cpu_s(self) -> float:
        """Processor seconds so far of the engine's process and all below it."""
        found, left = 0.0, [self._pid]
        while left:
            pid = left.pop()
            found += scale.cpu_s(pid)
            left += scale.children(pid)
        return found

    def _same_questions(self, query: Query) -> dict[str, bool]:
        """Whether each variant asks for the same fields of the same rows: the fake engine echoes them."""
        columns = [name for name in self._tables[query.table].column_names if name != "row_id"]
        asked = [call.sql(columns, instruction=f"ECHO {call.instruction}") for call in query.calls]
        words = ", ".join(f"{each} AS a{at}" for at, each in enumerate(asked))
        found = {}
        for name, settings in VARIANTS.items():
            self._set(settings)
            rows = self._spark.sql(f"SELECT row_id, {words} FROM {query.table}").collect()
            found[name] = Counter(
                (row[0], at, _canonical(row[1 + at], call.any_order))
                for row in rows
                for at, call in enumerate(query.calls)
            )
        return {name: asked_for == found[WRITTEN] for name, asked_for in found.items()}


def _canonical(answer: str | None, any_order: tuple[str, ...]) -> str:
    """The echoed row, in one order; values of a set may stand under any of its names."""
    row = json.loads(answer or "{}")
    values = sorted(json.dumps(row.pop(name)) for name in any_order if name in row)
    return json.dumps([sorted(row.items()), values])


def bounds(
    query: Query, table: pa.Table, compute_tokens: int, prompt_tokens: int, block_tokens: int
) -> dict[str, Any]:
    """What can be shared at best, by tokens, over all calls of a query.

    Args:
        query: what is asked.
        table: its sampled rows.
        compute_tokens: what the written order computed.
        prompt_tokens: of the same run.
        block_tokens: what the engine shares whole.
    """
    # A call behind the filter of another is asked about the half of the rows whose hash is even.
    weights = [1.0, *[_KEPT] * (len(query.calls) - 1)]
    asked = computed = least = 0.0
    for weight, call in zip(weights, query.calls, strict=True):
        prompt, best, cell = _bounds_of(call, table, block_tokens)
        asked, computed = asked + weight * prompt, computed + weight * best
        least = least + weight * cell if cell is not None else float("nan")
    left, floor = computed / max(1.0, asked), least / max(1.0, asked)
    return {
        "bound_share": 1 - left,
        "bound_times": compute_tokens / max(1.0, left * prompt_tokens),
        "cell_bound_times": None if math.isnan(floor) else compute_tokens / max(1.0, floor * prompt_tokens),
    }


def _bounds_of(call: Call, table: pa.Table, block_tokens: int) -> tuple[float, float, float | None]:
    """Prompt tokens of all rows, those the thorough plan leaves, and those that any order must leave."""
    from spark_llm.planner import order_table

    chosen = table.select(list(call.fields) or table.column_names)
    cells = cut_into_cells(chosen, RuleTokenizer(), head_text(call.instruction))
    sets = [call.any_order] if call.any_order else []
    best = order_table(
        chosen, policy="thorough", sets=sets, instruction_tokens=cells.head_tokens,
        block_tokens=block_tokens, null_is_left_out=True,
    )  # fmt: skip
    cell = None if sets else bound.spanning_tree_share(cells, BOUND_STEPS)
    if cell is None:
        return best.prompt_tokens, best.compute_tokens, None
    shared = (chosen.num_rows - 1) * cells.head_tokens + cell * float(cells.cell_tokens.sum())
    return best.prompt_tokens, best.compute_tokens, max(0.0, best.prompt_tokens - shared)


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the gates; a query is held to 1.5 times unless `bound_times` is below that."""
    ours = [row for row in rows if row["variant"] == OURS]
    ordered = [row for row in rows if row["variant"] == NO_DEDUP]
    free = [row["times_faster"] for row in ours if row["bound_times"] >= MOST]
    same = [row["same_questions"] for row in rows if row["variant"] in VARIANTS]
    found = {
        "times_faster_best": harness.gate(max(row["times_faster"] for row in ours), FASTEST),
        "times_faster_worst": harness.gate(min(row["times_faster"] for row in ours), NEVER_SLOWER),
        "times_faster_worst_without_dedup": harness.gate(
            min(row["times_faster"] for row in ordered), NEVER_SLOWER
        ),
        "same_questions": harness.gate(sum(same) / len(same), 1.0),
        "failed_rows": harness.gate(sum(row.get("failed_rows", 0) for row in rows), 0, at_least=False),
    }
    if free:
        found["times_faster_worst_where_the_bound_allows"] = harness.gate(min(free), MOST)
    return found


if __name__ == "__main__":
    main()
