"""Snapshots as catalyst/Progress.scala writes them."""


def call(
    number=1,
    *,
    rows=0,
    answered=None,
    prompt=0,
    cached=0,
    generated=0,
    expected=None,
    exact=True,
    follows=None,
    size=None,
    done_bytes=0,
    **more,
):
    return {
        "number": number,
        "metrics": {
            "rows": rows,
            "outputRows": rows if answered is None else answered,
            "outputBytes": done_bytes,
            "promptTokens": prompt,
            "cachedPromptTokens": cached,
            "generatedTokens": generated,
            **more,
        },
        "rows_expected": expected,
        "rows_exact": exact,
        "bytes_expected": size,
        "follows": follows,
    }


def snapshot(at_s, *calls, ended_s=None, failed=False, conf=None, number=7, bar=False, version=1):
    query = {
        "id": number,
        "started_ms": 0,
        "ended_ms": None if ended_s is None else ended_s * 1000,
        "failed": failed,
        "console_bar": bar,
        "conf": conf or {},
        "calls": list(calls),
    }
    return {"version": version, "now_ms": at_s * 1000, "queries": [query] if calls else []}
