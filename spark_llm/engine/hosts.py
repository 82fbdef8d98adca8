"""Which hosts may be sent rows: spark.llm.security.allowedHosts, checked at planning (JVM) and here."""

from __future__ import annotations

from spark_llm.errors import SparkLLMError

KEY = "spark.llm.security.allowedHosts"


def check_host(url: str, allowed: str | None) -> None:
    """Refuses an endpoint whose host is not allowed.

    Args:
        url: the endpoint.
        allowed: host names and patterns such as ``*.example.com`` (its subdomains, not itself), with
            commas; None allows all.

    Raises:
        SparkLLMError: LLM_HOST_NOT_ALLOWED.
    """
    if allowed is None:
        return
    import httpx

    # Read by who will connect; two readers may see two hosts in a URL with a backslash, which is none.
    try:
        host = "" if "\\" in url else httpx.URL(url).host.lower().rstrip(".")
    except httpx.InvalidURL:
        host = ""
    patterns = [each.strip().lower().rstrip(".") for each in allowed.split(",") if each.strip()]
    if not any(_fits(host, pattern) for pattern in patterns):
        raise SparkLLMError("LLM_HOST_NOT_ALLOWED", {"host": host or url, "allowed": allowed})


def _fits(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return bool(host) and host == pattern
