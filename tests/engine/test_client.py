from __future__ import annotations

import subprocess
import sys

import pytest

from spark_llm.engine.client import RoutedClient, open_client
from spark_llm.engine.credential import read_credential
from spark_llm.engine.fake import FakeEngine
from spark_llm.errors import SparkLLMError


def test_kinds():
    assert isinstance(open_client({"spark.llm.engine.kind": "fake"}, {}), FakeEngine)
    assert isinstance(open_client({"spark.llm.model": "m"}, {}), RoutedClient)


@pytest.mark.parametrize(
    ("conf", "condition"),
    [
        ({}, "LLM_MODEL_NOT_SET"),
        ({"spark.llm.model": "m"}, "LLM_ENGINE_FAILED"),
        ({"spark.llm.engine.kind": "openai", "spark.llm.model": "m"}, "LLM_INVALID_CONF"),
        (
            {
                "spark.llm.engine.kind": "openai",
                "spark.llm.model": "m",
                "spark.llm.engine.endpoint": "http://x/v1",
                "spark.llm.engine.secret": "env:NOT_THERE",
            },
            "LLM_CREDENTIAL_NOT_FOUND",
        ),
    ],
)
def test_what_is_missing_is_told_at_the_first_submit(conf, condition, rows, sampling):
    with pytest.raises(SparkLLMError) as caught:
        open_client(conf, {}).submit(rows(1), sampling()).result(5)
    assert caught.value.condition == condition


def test_a_model_with_an_endpoint_goes_there(scripted_server, rows, sampling):
    answer = {"choices": [{"message": {"content": "far"}}]}
    server = scripted_server([(200, {}, answer)])
    conf = {
        "spark.llm.model": "near",
        "spark.llm.models.far.endpoint": server.url,
        "spark.llm.models.far.path": "org/far-8b",
    }
    client = open_client(conf, {})
    assert client.submit(rows(1), sampling(model="far")).result(5)[0].text == "far"
    assert server.seen[0][2]["model"] == "org/far-8b"
    client.close()


def test_credential_from_environment_and_file(tmp_path):
    (tmp_path / "key").write_text(" abc\n")
    assert read_credential("k", "env:KEY", {"KEY": "abc"}) == "abc"
    assert read_credential("k", f"file:{tmp_path / 'key'}", {}) == "abc"


@pytest.mark.parametrize("reference", ["sk-plain", "plain:sk-plain", "env:", "", "vault:x"])
def test_a_plain_credential_is_refused_and_not_repeated(reference):
    with pytest.raises(SparkLLMError) as caught:
        read_credential("spark.llm.engine.secret", reference, {"": "x"})
    assert caught.value.condition == "LLM_INVALID_CONF"
    assert "sk-plain" not in str(caught.value)


@pytest.mark.parametrize("reference", ["env:GONE", "env:EMPTY", "file:/no/such/file", "file:/dev/null"])
def test_nothing_behind_a_reference(reference):
    with pytest.raises(SparkLLMError) as caught:
        read_credential("spark.llm.engine.secret", reference, {"EMPTY": " "})
    assert caught.value.condition == "LLM_CREDENTIAL_NOT_FOUND"
    assert reference in str(caught.value)


def test_the_fake_kind_needs_nothing_but_the_standard_library():
    program = (
        "import sys; from spark_llm.engine.client import open_client\n"
        "from spark_llm.engine.types import EngineRequest, Sampling\n"
        "open_client({'spark.llm.engine.kind': 'fake'}, {}).submit([EngineRequest('', 'x')], "
        "Sampling(None, 0.0, 9, None, None)).result()\n"
        "heavy = {'httpx', 'vllm', 'torch', 'pandas', 'pyarrow', 'pyspark', 'numpy', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
