"""All ``spark.llm.*`` entries: add one here, run ``tests/refresh_goldens.py``, and it exists everywhere.

No key and no value may match Spark's redaction pattern (``secret|password|token|access.key``), or Spark hides
it where users look for it; credentials are references, and their keys end in ``.secret`` to be hidden.
"""

from __future__ import annotations

from typing import Any, Final

from spark_llm.conf_entry import Entry, Kind

SYSTEM_PROMPT: Final = "Answer the instruction for the given row. Reply with the answer only."


def _entry(key: str, kind: Kind, default: str | None, doc: str, **more: Any) -> Entry:
    return Entry(key=f"spark.llm.{key}", kind=kind, default=default, doc=doc, **more)


ENTRIES: Final[tuple[Entry, ...]] = (
    _entry(
        "model", "string", None,
        "Model of calls without model =>: a hub name, a path, or a name defined by spark.llm.models.",
        scope="restart",
    ),
    _entry(
        "models.<name>.path", "string", None,
        "Hub name or path behind the model name <name>.",
        scope="restart",
    ),
    _entry(
        "models.<name>.endpoint", "string", None,
        "Base URL of an OpenAI-compatible server that has the model <name>.",
    ),
    _entry(
        "models.<name>.secret", "reference", None,
        "Where the key of that endpoint is found: env:NAME or file:PATH, never the key itself.",
    ),
    _entry(
        "models.<name>.revision", "string", None,
        "Which state of the model <name> is meant, such as a commit; stored answers of another are not used.",
    ),
    _entry(
        "engine.kind", "string", "vllm",
        "vllm: one engine per executor, started by the plug-in; openai: a remote endpoint; fake: "
        "made-up, repeatable answers, for tests.",
        allowed=("vllm", "openai", "fake"),
    ),
    _entry(
        "engine.endpoint", "string", None,
        "Base URL for spark.llm.engine.kind=openai, such as https://host/v1.",
    ),
    _entry(
        "engine.secret", "reference", None,
        "Where the endpoint's key is found: env:NAME or file:PATH, never the key itself.",
    ),
    _entry(
        "engine.maxModelLen", "int", None,
        "Longest prompt and answer together, in tokens; unset: what the model allows.",
        low=1, scope="restart",
    ),
    _entry(
        "engine.gpuMemoryFraction", "float", "0.9",
        "Share of the GPU's memory that the engine takes.",
        low=0.01, high=1, scope="restart",
    ),
    _entry(
        "engine.kvCacheMemory", "bytes", None,
        "Memory of the KV cache, in bytes or with a unit; unset: chosen by the engine.",
        low=1, scope="restart",
    ),
    _entry(
        "engine.blockSize", "int", None,
        "Size of a KV block, in tokens; unset: 32 on CPU, the engine's own on GPU.",
        low=1, scope="restart",
    ),
    _entry(
        "engine.dtype", "string", "auto",
        "Number format of weights and activations, as vLLM names it; auto is the model's own, but float32 on "
        "a CPU without bfloat16 instructions.",
        scope="restart",
    ),
    _entry(
        "engine.batchInvariant.enabled", "boolean", "false",
        "Answers do not depend on which other rows are computed at the same time, at some cost in speed: "
        "vLLM's batch-invariant mode, which needs a GPU.",
        scope="restart",
    ),
    _entry(
        "speculative.enabled", "boolean", "false",
        "Speculative decoding: likely next tokens are drafted and checked several at a time, as many as pay. "
        "Greedy answers stay the same.",
        scope="restart",
    ),
    _entry(
        "speculative.policy", "string", "value",
        "How many to draft: value weighs what the tokens of a step are worth, row by row; goodput is the "
        "rule of the SmartSpec paper; fixed drafts spark.llm.speculative.length wherever it can.",
        allowed=("value", "goodput", "fixed"), scope="restart",
    ),
    _entry(
        "speculative.length", "int", "7",
        "Most draft tokens of a row in a step.",
        low=1, high=64, scope="restart",
    ),
    _entry(
        "speculative.model", "string", None,
        "Hub name or path of a small draft model with the same vocabulary; unset: drafts come from the row's "
        "own text, from finished answers of the same call, and from the answer's grammar.",
        scope="restart",
    ),
    _entry(
        "speculative.dir", "string", None,
        "Folder on each executor where it is kept how often drafts were right, call by call, so that the "
        "next engine starts warm; unset: kept as long as the engine runs.",
        scope="restart",
    ),
    _entry(
        "reasoning.mode", "string", "off",
        "Whether the model thinks before it answers, for calls without reasoning =>: off, on, or auto, which "
        "does it on the rows where a pilot says that it pays.",
        allowed=("off", "on", "auto"),
    ),
    _entry(
        "reasoning.maxThinkingLen", "int", "512",
        "Longest thinking before an answer, for calls without reasoning_budget =>, in tokens. It comes on "
        "top of the answer's length.",
        low=1,
    ),
    _entry(
        "reasoning.policy", "string", "cascade",
        "Who decides at auto and with models =>: cascade (a pilot, then how sure the first answers are), "
        "semantic_router (the published one: by subject of the text), or text (a classifier of it).",
        allowed=("cascade", "semantic_router", "text"),
    ),
    _entry(
        "reasoning.budget", "float", None,
        "What auto may spend on thinking over the whole query: generated tokens per row on average, beyond "
        "what the rows take without thinking; with models =>, what the second model generates; unset: as "
        "much as the gain is worth.",
        low=0,
    ),
    _entry(
        "reasoning.dir", "string", None,
        "Folder, of any file system that Spark knows, where it is kept what pilots found, query shape by "
        "query shape, so that the next run needs none; unset: every query has its own pilot.",
    ),
    _entry(
        "reasoning.classifier", "string", None,
        "For the policy semantic_router: file of a classifier of subjects, on each executor, as "
        "spark_llm.router.text.TextClassifier saves it.",
    ),
    _entry(
        "reasoning.categories", "json", None,
        'For the policy semantic_router: which subjects think, such as {"math": true}; unset: the published '
        "table, math, physics and chemistry.",
    ),
    _entry(
        "reasoning.modes", "json", None,
        "Model families beside those that are known, and how a request switches their thinking: "
        '{"NAME": {"models": REGEX, "off": FIELDS, "on": FIELDS, "parser": NAME}}. FIELDS go into the chat '
        "completion.",
        scope="restart",
    ),
    _entry(
        "memory.allocator", "string", "auto",
        "Who lays out the KV cache: vllm; jenga, which gives layers that keep different things pages of "
        "different sizes; or auto, which is jenga where over 5 % more rows are predicted to fit.",
        allowed=("auto", "jenga", "vllm"), scope="restart",
    ),
    _entry(
        "memory.dir", "string", None,
        "Folder on each executor where it is kept how long a model's rows were, so that auto decides by "
        "them; unset: kept for the engines that follow in the same executor.",
        scope="restart",
    ),
    _entry(
        "memory.junctions.enabled", "boolean", "true",
        "Models with recurrent layers, on CPU: states are stored where the prefixes of later rows branch, so "
        "that the second row of a prefix hits it.",
        scope="restart",
    ),
    _entry(
        "memory.plannedUses.enabled", "boolean", "true",
        "On CPU: the engine is told how many later rows of a planned window begin as a row does, drops what "
        "none of them will read first, and knows where their prefixes branch.",
        scope="restart",
    ),
    _entry(
        "swap.enabled", "boolean", "false",
        "KV that does not fit the engine's memory is kept in the host's and copied back when its prefix "
        "returns, instead of being computed again. Answers stay the same.",
        scope="restart",
    ),
    _entry(
        "swap.mode", "string", "auto",
        "What is kept in host memory: blocks of rows that are not running, layers of rows that are; or auto, "
        "which is what pays by the measured speeds.",
        allowed=("auto", "blocks", "layers"), scope="restart",
    ),
    _entry(
        "swap.hostMemory", "bytes", "4g",
        "Host memory, or room in spark.llm.swap.path, that may hold KV, in bytes or with a unit.",
        low=1, scope="restart",
    ),
    _entry(
        "swap.path", "string", None,
        "Folder on each executor, on a local NVMe disk, where KV is kept in a file; unset: in memory.",
        scope="restart",
    ),
    _entry(
        "engine.args", "json", None,
        'JSON object of further vLLM arguments, such as {"enforce_eager": true}.',
        scope="restart",
    ),
    _entry(
        "engine.startTimeout", "duration", "600s",
        "How long an engine may take to start, and a row waits for it.",
        low=0, scope="restart",
    ),
    _entry(
        "engine.stallTimeout", "duration", "300s",
        "How long the engine may take no step while it has requests; then it is started again.",
        low=1, scope="restart",
    ),
    _entry(
        "engine.logDir", "string", None,
        "Folder of the engine's log on each executor; unset: the executor's own temporary folder.",
        scope="restart",
    ),
    _entry(
        "engine.python", "string", None,
        "Python interpreter that runs the engine; unset: the one that runs the Python workers.",
        scope="restart",
    ),
    _entry(
        "systemPrompt", "string", SYSTEM_PROMPT,
        "System message sent before every prompt.",
    ),
    _entry(
        "maxAnswerLen", "int", "256",
        "Longest answer of calls without max_tokens =>, in tokens.",
        low=1,
    ),
    _entry(
        "batchRows", "int", "256",
        "Rows per Arrow batch sent to the Python worker.",
        low=1,
    ),
    _entry(
        "batchBytes", "bytes", "8m",
        "Size of an Arrow batch, in bytes or with a unit, after which it is sent even if rows are "
        "missing.",
        low=1,
    ),
    _entry(
        "maxInFlightRows", "int", "1024",
        "Rows of one task that may wait for answers at the same time.",
        low=1,
    ),
    _entry(
        "planner.policy", "string", "default",
        "How rows and fields are ordered: default, thorough (slower, better), tree or ggr (one method "
        "alone), fixed (one field order for all rows), original (fields as chosen by the plan).",
        allowed=("default", "fixed", "tree", "ggr", "thorough", "original"),
    ),
    _entry(
        "planner.windowRows", "int", "4096",
        "Rows of one task that are read ahead and ordered together, at most; the first window is one batch.",
        low=1,
    ),
    _entry(
        "planner.windowBytes", "bytes", "64m",
        "Size of the fields, in bytes or with a unit, after which a window is closed even if rows are "
        "missing.",
        low=1,
    ),
    _entry(
        "reorderRows.enabled", "boolean", "true",
        "Ask rows that share a prefix one after the other. Answers still come back in input order.",
    ),
    _entry(
        "reorderFields.enabled", "boolean", "true",
        "Choose the order of the fields in each prompt. Off: the order in which they are written.",
    ),
    _entry(
        "inFlight", "string", "auto",
        "How rows with a common prefix are sent. shared: one after the other, as the engine shares what it "
        "is still computing; leader: one of them well ahead of the others; interleave: many groups in "
        "turns; auto: shared for the executor's own engine, and with spark.llm.cache.enabled, else "
        "interleave.",
        allowed=("auto", "shared", "leader", "interleave"),
    ),
    _entry(
        "limits.maxConcurrentRequests", "int", "64",
        "Requests of one task that may run at the same time, for spark.llm.engine.kind=openai.",
        low=1,
    ),
    _entry(
        "limits.timeout", "duration", "600s",
        "How long a request to an endpoint may take, from connecting to the end of the response.",
        low=0.001,
    ),
    _entry(
        "errors.maxRetries", "int", "5",
        "How often a request is sent again after a failure that may pass: HTTP 429 or 5xx, no connection, "
        "no whole response, an engine that was started again.",
        low=0,
    ),
    _entry(
        "security.allowedHosts", "string", None,
        "Hosts that endpoints may be on, with commas; *.example.com is any host below example.com. Unset: "
        "any. Where the application was started with it, SET cannot change it.",
    ),
    _entry(
        "security.trustRemoteCode.enabled", "boolean", "false",
        "Allow trust_remote_code in spark.llm.engine.args: the engine then runs Python code that comes with "
        "the model.",
        scope="restart",
    ),
    _entry(
        "limits.rpm", "int", None,
        "Requests per minute to an endpoint, of all executors and queries of the application together; "
        "unset: any.",
        low=1,
    ),
    _entry(
        "limits.tpm", "int", None,
        "Tokens per minute to an endpoint, prompts as estimated and answers at their longest, of all "
        "executors and queries of the application together; unset: any.",
        low=1,
    ),
    _entry(
        "budget", "budget", None,
        "What the calls of one query may spend together: tokens of prompts and answers, US dollars (needs "
        "spark.llm.price.prompt and spark.llm.price.answer) or time since its first request; unset: any.",
    ),
    _entry(
        "budget.onExceeded", "string", "null",
        "What becomes of rows that the budget does not reach. null: NULL with the condition "
        "LLM_BUDGET_EXCEEDED, whatever on_error says, and the query succeeds; fail: the query fails.",
        allowed=("null", "fail"),
    ),
    _entry(
        "price.prompt", "float", None,
        "Price of a million tokens of prompts, in US dollars.",
        low=0,
    ),
    _entry(
        "price.cached", "float", None,
        "Price of a million tokens of prompts that the engine found in its prefix cache, in US dollars; "
        "unset: spark.llm.price.prompt.",
        low=0,
    ),
    _entry(
        "price.answer", "float", None,
        "Price of a million tokens of answers, in US dollars.",
        low=0,
    ),
    _entry(
        "errors.maxFailedRatio", "float", None,
        "Share of a call's rows that may fail; past it the query fails with LLM_TOO_MANY_FAILURES. Looked at "
        "from 1,000 rows on, and when the call's last task ends; unset: any.",
        low=0, high=1,
    ),
    _entry(
        "errors.table", "string", None,
        "Where failed rows are kept: a folder of Parquet files (a path with a slash), or the name of a table "
        "to append to; unset: nowhere.",
    ),
    _entry(
        "dedup.enabled", "boolean", "true",
        "Ask equal questions of a query once. Only applied at temperature 0 or with a seed, where it "
        "cannot change an answer.",
    ),
    _entry(
        "dedup.maxAnswers", "int", "16384",
        "Answers of one task kept to serve equal prompts that come later.",
        low=0,
    ),
    _entry(
        "exchange.partitions", "int", None,
        "Partitions of the shuffle that brings equal rows together; unset: enough for every engine.",
        low=1,
    ),
    _entry(
        "cache.enabled", "boolean", "false",
        "Keep answers in files while a query runs, and look them up in later ones: a rerun asks only "
        "what is missing.",
    ),
    _entry(
        "cache.dir", "string", None,
        "Folder of the stored answers, as Spark writes paths; unset: spark_llm_cache in "
        "spark.sql.warehouse.dir.",
    ),
    _entry(
        "cache.table", "string", None,
        "Table to which finished answers move from spark.llm.cache.dir when a query has ended, created where "
        "there is none; looked up with the folder. Unset: they stay in the folder.",
    ),
    _entry(
        "cache.ttl", "duration", None,
        "Stored answers that are older are asked again; unset: they stay good.",
        low=0,
    ),
    _entry(
        "cache.maxSize", "bytes", None,
        "Size of spark.llm.cache.dir above which the oldest files are deleted when a query has ended, but "
        "none that is younger than an hour; unset: any.",
        low=1,
    ),
    _entry(
        "cache.flushInterval", "duration", "2s",
        "How long an answer may wait until it is in a file that a later run finds.",
        low=0.1,
    ),
    _entry(
        "cache.broadcastMaxSize", "bytes", None,
        "Stored answers of a call, as large as their files, up to which they are sent to every executor "
        "for the "
        "look-up; above, Spark joins them. Unset: a tenth of the smaller of driver's and executors' memory.",
        low=1,
    ),
    _entry(
        "fake.answers", "string", None,
        'For spark.llm.engine.kind=fake: path of a JSON file with rules [{"when": TEXT, "answer": '
        'ANY}, ...].',
    ),
    _entry(
        "fake.fail", "string", None,
        "For spark.llm.engine.kind=fake: rows whose prompt contains this text fail.",
    ),
    _entry(
        "fake.maxModelLen", "int", None,
        "For spark.llm.engine.kind=fake: longer prompts fail, in tokens of four characters.",
        low=1,
    ),
    _entry(
        "fake.cacheSize", "int", "40000",
        "For spark.llm.engine.kind=fake: prompt text that its prefix cache holds, in tokens of four "
        "characters.",
        low=0,
    ),
    _entry(
        "fake.lag", "int", "0",
        "For spark.llm.engine.kind=fake: how many requests a prompt must be ahead of another that finds "
        "its prefix.",
        low=0,
    ),
    _entry(
        "moveFilters.enabled", "boolean", "true",
        "Ask the model last and least: cheap predicates, joins and limits go before calls, and several LLM "
        "predicates run in the order of cost / (1 - selectivity).",
    ),
    _entry(
        "shareCalls.enabled", "boolean", "true",
        "Evaluate the same call in SELECT and WHERE, in several branches, or in a view or CTE used twice, "
        "once.",
    ),
    _entry(
        "costmodel.path", "string", None,
        "What a step of the engine costs: a file that spark-llm profile has written, on each executor's "
        "machine. Unset: a published fit, corrected by what is seen.",
        scope="restart",
    ),
    _entry(
        "progress.enabled", "string", "auto",
        "Show how far the calls of a running query are. auto: in a terminal or notebook; true: also where "
        "there is none, a line every ten seconds.",
        allowed=("auto", "true", "false"),
    ),
    _entry(
        "report.dir", "string", None,
        "Folder on the driver's machine for one HTML page per query with calls; unset: no report.",
    ),
    _entry(
        "logPrompts.enabled", "boolean", "false",
        "Let values of rows and texts of answers into logs, reports, stored answers and the error table.",
    ),
)  # fmt: skip
