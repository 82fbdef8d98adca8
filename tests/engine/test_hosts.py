from __future__ import annotations

import pytest

from spark_llm.engine.client import open_client
from spark_llm.engine.hosts import check_host
from spark_llm.engine.redact import without_credential, without_rows
from spark_llm.errors import SparkLLMError

ALLOWED = "llm.example.com, *.inner.example.org ,10.0.0.7"


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example.com/v1",
        "https://LLM.Example.com:8443/v1",
        "http://a.inner.example.org",
        "http://a.b.inner.example.org/",
        "http://10.0.0.7:8000/v1",
    ],
)
def test_allowed(url):
    check_host(url, ALLOWED)
    check_host(url, None)


@pytest.mark.reliability("an endpoint on a host that is not allowed", "LLM_HOST_NOT_ALLOWED, nothing is sent")
@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/v1",
        "https://inner.example.org",
        "https://evil-inner.example.org",
        "https://llm.example.com.evil.net/v1",
        "https://evil.net/llm.example.com",
        "https://llm.example.com@evil.net/v1",
        "https://evil.net#llm.example.com",
        "https://evil.net?llm.example.com",
        "https://evil.net\\@llm.example.com",
        "https://evil.net\t.llm.example.com@x",
        "llm.example.com/v1",
        "",
    ],
)
def test_not_allowed(url):
    """An endpoint on another host, however its URL is written -> refused, with the host and the list."""
    with pytest.raises(SparkLLMError) as caught:
        check_host(url, ALLOWED)
    assert caught.value.condition == "LLM_HOST_NOT_ALLOWED"
    assert ALLOWED in caught.value.message


def test_an_empty_list_allows_none():
    with pytest.raises(SparkLLMError):
        check_host("https://llm.example.com", "")


def test_the_client_checks_before_it_reads_the_credential(sampling, rows):
    conf = {
        "spark.llm.engine.kind": "openai",
        "spark.llm.model": "m",
        "spark.llm.engine.endpoint": "https://evil.net/v1",
        "spark.llm.engine.secret": "env:NOT_THERE",
        "spark.llm.security.allowedHosts": ALLOWED,
    }
    with pytest.raises(SparkLLMError, match=r"LLM_HOST_NOT_ALLOWED.*evil\.net"):
        open_client(conf, {}).submit(rows(1), sampling())


ROW = 'Is it about food?\n{"review": "The pasta was cold and the waiter rude."}'


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("too long", "too long"),
        (f"cannot read: {ROW}!", "cannot read: (row text)!"),
        ("near 'pasta was cold and the waiter rude.' and 'waiter'", "near '(row text)' and 'waiter'"),
        ("The pasta was cold and", "(row text)"),
    ],
)
def test_messages_quote_no_rows(message, shown):
    assert without_rows(message, "system", ROW) == shown


def test_messages_show_no_credential():
    assert without_credential("Incorrect key: sk-77.", "sk-77") == "Incorrect key: (hidden)."
    assert without_credential("x", None) == without_credential("x", "") == "x"
