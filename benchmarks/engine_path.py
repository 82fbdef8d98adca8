"""How much of the engine's speed is left when questions come through Spark?

The same prompts go through vLLM's offline `LLM.generate` (the bound: no server, no Spark), through `llm()`
in Spark (ours) and, for a part of the rows, through a pandas UDF that asks row by row (the naive rival).
Tokens per second are by the engine's own clock: from the first prompt's arrival to the last answer's end, as
the engine's process sees them. A second part asks the fake engine, to see what Spark, Arrow and the Python
worker can carry without a model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

DEMO_MODEL = harness.ROOT / "spark_llm" / "demo" / "model"
INSTRUCTION = "Which product is named in the review?"
MAX_MODEL_LEN_TOKENS = 1024
MAX_ANSWER_TOKENS = 32
ROUNDS = 8


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--rows", type=int, default=1500, help="prompts sent to the real engine (default 1500)"
    )
    parser.add_argument(
        "--plain-rows", type=int, default=100, help="of these, rows asked one by one (default 100)"
    )
    parser.add_argument(
        "--fake-rows", type=int, default=200_000, help="rows for the fake engine (default 200,000)"
    )
    parser.add_argument(
        "--model", type=Path, default=DEMO_MODEL, help="model folder (default: the demo model)"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="not used: the prompts are generated")
    parser.add_argument("--offline-worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.offline_worker:
        offline_worker(options.offline_worker)
        return
    texts = review_texts(options.rows, options.seed)
    bound = offline(options.model, texts)
    ours, plain = through_spark(options.model, texts, options.plain_rows)
    rows = [bound, ours, plain, *fake(options.fake_rows)]
    same = sum(a == b for a, b in zip(bound.pop("answers"), ours.pop("answers"), strict=True))
    ours["same_answers"] = same
    gates = {
        "engine_path_ratio": harness.gate(ours["tokens_per_s"] / bound["tokens_per_s"], 0.8),
        "same_answers": harness.gate(same / len(texts), 1.0),
        "fake_rows_per_s": harness.gate(rows[-1]["rows_per_s"], 20_000),
    }
    harness.report(rows, gates, options.json)


def review_texts(count: int, seed: int) -> list[str]:
    """Distinct review texts of the demo's shop."""
    from spark_llm.demo.tables import shop_tables

    texts: dict[str, None] = {}
    while len(texts) < count:
        texts.update(dict.fromkeys(shop_tables(seed, 5000)["reviews"]["text"].to_pylist()))
        seed += 1
    return list(texts)[:count]


def user_message(text: str) -> str:
    """The prompt's last message, as the plug-in renders it."""
    return f"{INSTRUCTION}\n{json.dumps({'text': text}, ensure_ascii=False)}"


def offline(model: Path, texts: list[str]) -> dict[str, Any]:
    """Runs `LLM.generate` in a process of its own, so that its threads are gone before Spark starts."""
    with tempfile.TemporaryDirectory() as folder:
        order = Path(folder) / "order.json"
        order.write_text(json.dumps({"model": str(model), "texts": texts}))
        environ = {
            **os.environ,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, __file__, "--offline-worker", str(order)]
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
        return json.loads((Path(folder) / "order.json").read_text())


def offline_worker(order: Path) -> None:
    """The child of `offline`: answers in the same file."""
    from vllm import LLM, SamplingParams

    from spark_llm.prompts import SYSTEM_PROMPT

    task = json.loads(order.read_text())
    llm = LLM(
        task["model"], max_model_len=MAX_MODEL_LEN_TOKENS, block_size=32, enforce_eager=True,
        enable_prefix_caching=True, kv_cache_memory_bytes=1 << 30,
    )  # fmt: skip
    template = llm.get_tokenizer()
    prompts = [
        template.apply_chat_template(
            [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": user_message(text)}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        for text in task["texts"]
    ]
    sampling = SamplingParams(temperature=0, max_tokens=MAX_ANSWER_TOKENS)
    seconds = []
    for _ in range(ROUNDS):
        llm.reset_prefix_cache()
        started = time.monotonic()
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        seconds.append(time.monotonic() - started)
    prompt_tokens = sum(len(o.prompt_token_ids or ()) for o in outputs)
    generated_tokens = sum(len(o.outputs[0].token_ids) for o in outputs)
    result = line("vLLM offline LLM.generate (bound)", len(prompts), prompt_tokens, generated_tokens, seconds)
    result["answers"] = [o.outputs[0].text.strip() for o in outputs]
    order.write_text(json.dumps(result))


def line(
    name: str, rows: int, prompt_tokens: int, generated_tokens: int, seconds: list[float]
) -> dict[str, Any]:
    """A row of the table; the best round counts, since whatever else runs on the machine only adds time."""
    best = min(seconds)
    return {
        "path": name,
        "rows": rows,
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated_tokens,
        "engine_s": best,
        "rounds_s": " ".join(f"{s:.1f}" for s in seconds),
        "tokens_per_s": (prompt_tokens + generated_tokens) / best,
        "rows_per_s": rows / best,
    }


def session(**conf: str) -> Any:
    """A session with the plug-in on local[2]."""
    from pyspark.sql import SparkSession

    from spark_llm import session_conf

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    for key, value in {**session_conf(), **quiet, "spark.driver.memory": "2g", **conf}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def through_spark(model: Path, texts: list[str], plain_rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same prompts through `llm()`, and some of them through the plain UDF."""
    import httpx

    from spark_llm import metrics
    from spark_llm.demo import plain_udf

    conf = {"spark.llm.model": str(model), "spark.llm.engine.maxModelLen": str(MAX_MODEL_LEN_TOKENS),
            "spark.llm.maxAnswerLen": str(MAX_ANSWER_TOKENS)}  # fmt: skip
    spark = session(**conf)
    spark.createDataFrame(list(enumerate(texts)), "id INT, text STRING").repartition(
        2
    ).cache().createOrReplaceTempView("t")
    spark.sql("SELECT llm('Say hello.')").collect()
    address = spark._jvm.org.apache.spark.sql.llm.EngineHost.current().get()
    engine = httpx.Client(
        transport=httpx.HTTPTransport(uds=address.socket()), base_url="http://engine", timeout=60
    )
    seconds, answers = [], []
    for _ in range(ROUNDS):
        engine.post(
            "/spark_llm/v1/clock",
        ).raise_for_status()
        answers = spark.sql(f"SELECT id, llm('{INSTRUCTION}', text) AS a FROM t").collect()
        cost = metrics.total(metrics.last_query(spark))
        clock = engine.get("/spark_llm/v1/clock").json()
        seconds.append(clock["span_s"])
    ours = line(
        "llm() in Spark, local[2] (ours)", len(texts), cost.prompt_tokens, cost.generated_tokens, seconds
    )
    ours["answers"] = [row.a for row in sorted(answers, key=lambda row: row.id)]
    environ = {"SPARK_LLM_ENGINE_SOCKET": address.socket(), "SPARK_LLM_ENGINE_STATE": address.state()}
    plain_udf.register(spark, conf, environ)
    engine.post("/spark_llm/v1/clock").raise_for_status()
    spark.sql(
        f"SELECT plain('{INSTRUCTION}', to_json(struct(text))) FROM t WHERE id < {plain_rows}"
    ).collect()
    clock = engine.get("/spark_llm/v1/clock").json()
    plain = line(
        "pandas UDF, row by row (naive)",
        plain_rows,
        clock["prompt_tokens"],
        clock["generated_tokens"],
        [clock["span_s"]],
    )
    spark.stop()
    return ours, plain


def fake(rows: int) -> list[dict[str, Any]]:
    """Rows per second of the path itself: wall clock of a query, best of the rounds after a first one."""
    spark = session(**{"spark.llm.engine.kind": "fake"})
    spark.range(0, rows, 1, 4).selectExpr(
        "concat('a review with some text, number ', id) AS review", "concat('title ', id % 100) AS title"
    ).createOrReplaceTempView("f")
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.monotonic()
        spark.sql("SELECT count(a) FROM (SELECT llm('Is it ok?', review, title) AS a FROM f)").collect()
        seconds.append(time.monotonic() - started)
    spark.stop()
    best = min(seconds[1:])
    return [{"path": "llm() in Spark, fake engine, local[2]", "rows": rows, "engine_s": best,
             "rounds_s": " ".join(f"{s:.1f}" for s in seconds[1:]), "rows_per_s": rows / best}]  # fmt: skip


if __name__ == "__main__":
    main()
