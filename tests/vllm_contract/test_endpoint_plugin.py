"""Every name and signature of vLLM that the batch endpoint and the launcher use: an upgrade fails here, loudly."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_endpoint_plugin_protocol():
    from vllm.plugins.endpoint_plugins.interface import EndpointPlugin

    from spark_llm.engine.vllm_plugin import BatchEndpoint

    assert isinstance(BatchEndpoint(), EndpointPlugin)
    for name in ("attach_router", "init_state"):
        assert parameters(getattr(EndpointPlugin, name)) == parameters(getattr(BatchEndpoint, name))
    assert set(EndpointPlugin.__annotations__) == {"name", "required_tasks"}


@pytest.fixture
def registered_twice(tmp_path, monkeypatch):
    for number in (1, 2):
        info = tmp_path / str(number) / f"twice{number}-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: twice{number}\nVersion: 0\n")
        target = "spark_llm.engine.vllm_plugin:BatchEndpoint"
        (info / "entry_points.txt").write_text(f"[vllm.endpoint_plugins]\nspark_llm_batch = {target}\n")
        monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])


@pytest.mark.parametrize(
    ("allowed", "names"), [("spark_llm_batch", ["spark_llm_batch"]), ("other", []), ("", []), (None, [])]
)
def test_loaded_once_and_only_where_allowed(registered_twice, monkeypatch, allowed, names):
    from vllm.plugins import ENDPOINT_PLUGINS_GROUP, load_endpoint_plugins

    from spark_llm.engine.plugin_path import ENTRY_POINTS

    assert ENTRY_POINTS[0][0] == ENDPOINT_PLUGINS_GROUP
    if allowed is None:
        monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("VLLM_PLUGINS", allowed)
    assert [plugin.name for plugin in load_endpoint_plugins(("generate",))] == names


def test_chat_request_fields():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    used = {"messages", "priority", "request_id", "max_tokens", "temperature", "seed", "stream"}
    used |= {"structured_outputs", "chat_template_kwargs"}
    assert used <= set(ChatCompletionRequest.model_fields)


def test_chat_serving():
    from vllm.entrypoints.generate.base.serving import GenerateBaseServing
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    assert parameters(OpenAIServingChat.create_chat_completion) == ["self", "request", "raw_request"]
    assert parameters(OpenAIServingChat.create_error_response)[0] == "message"
    source = inspect.getsource(GenerateBaseServing.__init__)
    assert "self.engine_client = " in source
    assert "self.renderer = " in source
    assert "model_config=" in source


def test_serving_is_found_on_the_app():
    import vllm.entrypoints.openai.chat_completion.api_router as router

    assert "app.state.openai_serving_chat" in inspect.getsource(router.chat)


def test_small_names():
    from vllm.engine.protocol import EngineClient
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse
    from vllm.entrypoints.serve.utils.api_utils import with_cancellation
    from vllm.tokenizers import TokenizerLike
    from vllm.utils import random_uuid

    assert isinstance(random_uuid(), str)
    assert isinstance(EngineClient.errored, property)
    assert isinstance(TokenizerLike.max_chars_per_token, property)
    assert list(ErrorResponse.model_fields) == ["error"]
    assert parameters(with_cancellation) == ["handler_func"]


class FourCharTokenizer:
    max_chars_per_token = 4


def test_words_of_a_prompt_that_is_too_long():
    from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
    from vllm.exceptions import VLLMClientError
    from vllm.renderers.params import TokenizeParams

    from spark_llm.engine.too_long import prompt_too_long

    limits, tokenizer = TokenizeParams(max_total_tokens=8), FourCharTokenizer()
    found = []
    for refuse in (
        lambda: limits._token_len_check(tokenizer, list(range(9))),
        lambda: limits._token_len_check(tokenizer, list(range(20))),
        lambda: limits._text_len_check(tokenizer, "x" * 99),
        lambda: get_max_tokens(8, 4, 20, {}),
    ):
        with pytest.raises((ValueError, VLLMClientError), match="length") as caught:
            refuse()
        found.append(prompt_too_long(str(caught.value), 4).params)
    assert [each["limit"] for each in found] == ["8"] * 4
    assert [each["prompt"] for each in found] == ["at least 9", "20", "more than 8 (99 characters)", "20"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_server_takes_our_arguments(device):
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from spark_llm.conf import parse_conf
    from spark_llm.engine.vllm_args import Machine, launch_of

    conf = parse_conf({"spark.llm.engine.maxModelLen": "64", "spark.llm.engine.args": '{"max_num_seqs": 8}'})
    launch = launch_of(conf, "/m", "m", "/s", Machine(device, 2), {})
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(list(launch.arguments))
    assert (parsed.uds, parsed.served_model_name, parsed.max_model_len, parsed.max_num_seqs) == (
        "/s",
        ["m"],
        64,
        8,
    )
    assert parsed.enable_prefix_caching is True
    assert parsed.enable_prompt_tokens_details is True
    assert parsed.structured_outputs_config.backend == "xgrammar"


def test_environment_variables():
    from vllm import envs

    from spark_llm.conf import parse_conf
    from spark_llm.engine.vllm_args import Machine, launch_of

    chosen = launch_of(parse_conf({}), "/m", "m", "/s", Machine("cpu", 2), {}).environment
    chosen |= launch_of(
        parse_conf({"spark.llm.engine.batchInvariant.enabled": "true"}),
        "/m",
        "m",
        "/s",
        Machine("gpu", 2),
        {},
    ).environment
    assert {name for name in chosen if name.startswith("VLLM_")} <= set(envs.environment_variables)


def test_idle_connections_outlive_the_clients_patience(monkeypatch):
    from vllm import envs

    monkeypatch.delenv("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", raising=False)
    # The client drops idle connections after 4 s.
    assert envs.environment_variables["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]() > 4


def test_the_server_can_be_run_as_a_module():
    from spark_llm.engine.vllm_args import SERVER_MODULE

    spec = importlib.util.find_spec(SERVER_MODULE)
    assert "__main__" in Path(spec.origin).read_text()


def test_how_a_cancelled_request_is_reported():
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.v1.engine import FINISH_REASON_STRINGS
    from vllm.v1.engine.exceptions import EngineDeadError

    from spark_llm.engine.vllm_plugin import DISCONNECTED

    assert f'"{DISCONNECTED}"' in inspect.getsource(OpenAIServingChat.chat_completion_full_generator)
    assert "abort" in FINISH_REASON_STRINGS
    assert issubclass(EngineDeadError, Exception)
