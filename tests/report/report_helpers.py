"""The data of a run as catalyst/ReportJson.scala writes it."""

import json

EVIL = '<script>alert("x")</script><img src=http://e.vil/x> & \x00 ]]> --> </style></svg>'


def tree(*levels):
    """Levels as (name, tokens, reused, nodes as (begin, end, label, requests, tokens, reused))."""
    return json.dumps(
        {
            "prompt_tokens": sum(level[1] for level in levels),
            "levels": [
                {
                    "name": name,
                    "mixed": False,
                    "tokens": tokens,
                    "reused_tokens": reused,
                    "nodes": [
                        [begin, end, label, 1, requests, at, hit]
                        for begin, end, label, requests, at, hit in nodes
                    ],
                }
                for name, tokens, reused, nodes in levels
            ],
        }
    )


def call(
    number=1,
    *,
    text="llm('Is it good?', product, review)",
    rows=900,
    requests=400,
    prompt=40_000,
    cached=30_000,
    generated=1_200,
    rows_read=1_000,
    errors=(),
    conditions=None,
    windows=1,
    levels=None,
    picture=None,
    **metrics,
):
    """One call; further metrics by their keys."""
    return {
        "number": number,
        "site": f"{number:08x}",
        "text": text,
        "model": "demo",
        "engine": "vllm",
        "fields": ["product", "review"],
        "order": ["product", "review"],
        "order_source": "catalog statistics",
        "rows_read": rows_read,
        "metrics": {
            "rows": rows,
            "outputRows": rows,
            "outputBytes": 100 * rows,
            "duplicateRows": rows - requests,
            "requests": requests,
            "promptTokens": prompt,
            "cachedPromptTokens": cached,
            "generatedTokens": generated,
            "failedRows": 0,
            "skippedRows": 0,
            "engineWait": 12_345,
            **metrics,
        },
        "profile": {
            "windows": windows,
            "levels": levels
            if levels is not None
            else [
                {
                    "fields": {"instruction": 400},
                    "requests": 400,
                    "prefixes": 1,
                    "tokens": 8_000,
                    "reused_tokens": 7_980,
                },
                {
                    "fields": {"product": 380, "review": 20},
                    "requests": 400,
                    "prefixes": 4,
                    "tokens": 24_000,
                    "reused_tokens": 22_020,
                },
                {
                    "fields": {"review": 380, "product": 20},
                    "requests": 400,
                    "prefixes": 398,
                    "tokens": 8_000,
                    "reused_tokens": 0,
                },
            ],
            "tree": picture
            if picture is not None
            else tree(
                ("instruction", 8_000, 7_980, [(0, 1, "system message and instruction", 400, 8_000, 7_980)]),
                (
                    "product",
                    24_000,
                    22_020,
                    [
                        (0, 0.4, "", 160, 9_600, 9_000),
                        (0.4, 0.7, "", 120, 7_200, 7_000),
                        (0.7, 0.9, "", 80, 4_800, 4_020),
                        (0.9, 1, "null", 40, 0, 0),
                    ],
                ),
                (
                    "review",
                    8_000,
                    0,
                    [(0, 0.4, "… 160 more", 160, 3_200, 0), (0.4, 1, "… 240 more", 240, 4_800, 0)],
                ),
            ),
        },
        "conditions": dict(conditions or {}),
        "errors": [{"condition": c, "message": m, "rows": n} for c, m, n in errors],
    }


def engine(executor, at_s, prompt, generated, hits, running=0, waiting=0, usage=0.0):
    """One reading of one engine."""
    return {
        "executor": executor,
        "at_ms": 1_000_000 + round(1000 * at_s),
        "metrics": {
            "prompt_tokens": prompt,
            "generation_tokens": generated,
            "prefix_cache_queries": prompt,
            "prefix_cache_hits": hits,
            "num_requests_running": running,
            "num_requests_waiting": waiting,
            "kv_cache_usage_perc": usage,
        },
    }


def point(at_s, requests, prompt, cached, generated):
    """What the query's own tasks had counted."""
    return {
        "at_ms": 1_000_000 + round(1000 * at_s),
        "requests": requests,
        "prompt_tokens": prompt,
        "cached_prompt_tokens": cached,
        "generated_tokens": generated,
    }


def run(*calls, seconds=60, engines=(), history=(), failed=False, condition=None, **more):
    """One query."""
    return {
        "version": 1,
        "application": "reviews",
        "application_id": "local-1",
        "execution": 3,
        "spark": "4.3.0",
        "started_ms": 1_000_000,
        "ended_ms": 1_000_000 + round(1000 * seconds),
        "failed": failed,
        "condition": condition,
        "budget": None,
        "calls": list(calls) or [call()],
        "history": list(history),
        "engines": list(engines),
        "explain": "call 1  llm('Is it good?', product, review)\n        rows           900 -> 900",
        **more,
    }


def whole_run():
    """Everything a page can show: two calls, one of them with every kind of row, two engines, values to be escaped."""
    busy = [
        engine(
            name,
            at,
            800 * at * share,
            24 * at * share,
            600 * at * share,
            max(0, 30 - at) * share,
            60 - at,
            at / 80,
        )
        for name, share in (("1", 1), ("2", 2))
        for at in range(0, 61, 2)
    ]
    first = call(
        1,
        text=f"llm('Is it {EVIL}?', product, review)",
        rows=4_000,
        rows_read=20_000,
        requests=1_500,
        prompt=120_000,
        cached=80_000,
        skippedRows=300,
        cachedRows=500,
        overBudgetRows=100,
        retries=12,
        failedRows=44,
        conditions={"LLM_PROMPT_TOO_LONG": 40, "LLM_OUTPUT_INVALID": 4},
        errors=[
            ("LLM_PROMPT_TOO_LONG", f"300 > 256 {EVIL}", 40),
            ("LLM_OUTPUT_INVALID", "'perhaps' is no BOOLEAN", 4),
        ],
        windows=3,
    )
    reason = f"all layers of {EVIL} are alike"
    memory = [
        {"executor": name, "allocator": "grouped", "reason": reason, "pages": 1024} for name in ("1", "2")
    ]
    return run(first, call(2), engines=busy, memory=memory, budget="5Mtok")
