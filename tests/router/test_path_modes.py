"""Modes off and on, from the call's options to what an engine is told, and back."""

import json
from dataclasses import replace

import pytest

from spark_llm.conf import parse_conf
from spark_llm.engine.answers import from_error
from spark_llm.engine.completion import read_response
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_rules import Rule
from spark_llm.engine.family import family_for
from spark_llm.engine.thinking import TokenLogprob, figures_of, split, thinking_apart, told
from spark_llm.engine.types import AnswerFigures, EngineAnswer, EngineRequest, Reasoning, Sampling
from spark_llm.engine.vllm_args import Machine, launch_of
from spark_llm.engine.wire import batch_body
from spark_llm.errors import SparkLLMError, request_rejected
from spark_llm.worker.command import parse_spec
from spark_llm.worker.reasoning import modes_of, reasoning_of

ON = {"chat_template_kwargs": {"enable_thinking": True}}
QWEN = {
    "spark.llm.engine.kind": "openai",
    "spark.llm.engine.endpoint": "http://x/v1",
    "spark.llm.model": "Qwen3-8B",
}


def sampling(**reasoning):
    return Sampling(None, 0.0, 16, None, None, reasoning=Reasoning(**reasoning))


def call_of(conf, **options):
    call = {"instruction": "?", "field_names": ["x"], "return_type": '"string"', **options}
    return parse_spec(json.dumps({"version": 6, "call": call, "conf": conf}))


def modes(conf, **options):
    return modes_of(*call_of(conf, **options))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("13", (None, "13")),
        ("<think>9 + 4</think>13", ("9 + 4", "13")),
        ("\n<think>\n9 + 4\n</think>\n\n13", ("9 + 4", "13")),
        ("9 + 4</think>13", ("9 + 4", "13")),
        ("<think></think>13", ("", "13")),
        ("<think>9 + 4 is", ("9 + 4 is", "")),
        ("The tag <think> opens, </think> closes.", (None, "The tag <think> opens, </think> closes.")),
    ],
)
def test_thinking_apart_from_the_answer(text, expected):
    assert split(text) == expected


def test_thinking_tokens_are_counted_or_shared_out():
    assert thinking_apart("9 + 4", "13", 7, 12) == ("13", 7)
    assert thinking_apart(None, "<think>123456</think>12", None, 8) == ("12", 6)
    assert thinking_apart(None, "13", None, 2) == ("13", 0)


def test_figures_are_those_of_the_answer_alone():
    logprobs = [("<think>", -9.0, -0.1), ("13", -5.0, -6.0), ("</think>", -0.5, -1.0),
                ("\n", -0.01, -7.0), ("1", -0.25, -1.75), ("3", -0.75, -2.0), ("<|im_end|>", -3.0, -4.0)]  # fmt: skip
    tokens = [TokenLogprob(text.encode(), own, other) for text, own, other in logprobs]
    assert figures_of(tokens, "13") == AnswerFigures(-0.5, -0.75, 1.5)
    assert figures_of(tokens, "14") is None
    assert figures_of(tokens, " ") is None


def test_the_best_other_token_is_not_the_token_itself():
    entry = {"token": "b", "bytes": [98], "logprob": -2.0,
             "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -2.0}]}  # fmt: skip
    assert TokenLogprob.of(entry) == (b"b", -2.0, -0.5)


@pytest.mark.parametrize(
    ("reasoning", "tokens", "text", "finish", "cut", "unasked"),
    [
        (Reasoning(on=True, budget_tokens=8), 7, "13", "stop", False, False),
        (Reasoning(on=True, budget_tokens=8), 8, "13", "stop", True, False),
        (Reasoning(on=True), 40, "", "length", True, False),
        (Reasoning(), 0, "13", "stop", False, False),
        (Reasoning(), 5, "13", "stop", False, True),
    ],
)
def test_what_is_told_of_an_answer(reasoning, tokens, text, finish, cut, unasked):
    answer = EngineAnswer(text, None, None, 9, 0, 50, finish, thinking_tokens=tokens)
    found = told(answer, reasoning)
    assert (found.thinking_cut, found.unasked_thinking, found.reasoned) == (cut, unasked, reasoning.on)
    failed = from_error(request_rejected("no"))
    assert told(failed, reasoning) == failed


def test_a_thought_that_the_prompt_began_and_the_length_ended_is_no_answer():
    cut = read_response(Response({"content": "Okay, 9 + 4 is"}, "length"), wrapped=False)
    found = told(cut, Reasoning(on=True, enforced=False))
    assert (found.text, found.thinking_cut, found.thinking_tokens) == ("", True, 20)
    assert told(cut, Reasoning()).text == "Okay, 9 + 4 is"
    whole = read_response(Response({"content": "Okay, 13"}), wrapped=False)
    assert told(whole, Reasoning(on=True)).text == "Okay, 13"


def test_the_batch_says_the_mode_and_makes_room_for_the_thinking():
    body = json.loads(batch_body([EngineRequest("s", "u")], sampling(on=True, fields=ON, budget_tokens=100)))
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert (body["thinking_token_budget"], body["max_tokens"]) == (100, 116)
    plain = json.loads(batch_body([EngineRequest("s", "u")], sampling(figures=True)))
    assert plain["chat_template_kwargs"] == {"enable_thinking": False}
    assert (plain["logprobs"], plain["top_logprobs"], plain["max_tokens"]) == (True, 2, 16)


def test_modes_of_an_endpoint():
    implicit = modes(QWEN)
    assert (implicit.mode, reasoning_of(implicit)) == ("off", Reasoning())
    off = reasoning_of(modes(QWEN, reasoning="off"))
    assert off.fields == {"chat_template_kwargs": {"enable_thinking": False}}
    on = reasoning_of(modes(QWEN | {"spark.llm.reasoning.mode": "on"}, reasoning_budget=64))
    assert (on.on, on.fields, on.budget_tokens, on.enforced) == (True, ON, 64, False)
    gpt = reasoning_of(modes(QWEN | {"spark.llm.model": "gpt-oss-20b"}, reasoning="on"))
    assert gpt.fields == {"reasoning_effort": "high"}


@pytest.mark.parametrize(
    ("model", "mode", "why"),
    [
        ("gpt-4o", "on", "spark.llm.reasoning.modes"),
        ("gpt-4o", "auto", "spark.llm.reasoning.modes"),
        ("DeepSeek-R1", "off", "always thinks"),
        ("DeepSeek-R1", "auto", "always thinks"),
        ("Qwen3-4B-Instruct-2507", "on", "cannot be told to think"),
    ],
)
def test_a_mode_that_the_model_does_not_have_is_told(model, mode, why):
    with pytest.raises(SparkLLMError, match=f"LLM_INVALID_OPTION.*{why}"):
        modes(QWEN | {"spark.llm.model": model}, reasoning=mode)


def test_families_of_the_user_come_first():
    own = {"Mine": {"models": "my-model", "off": {"think": 0}, "on": {"think": 1}}}
    conf = QWEN | {"spark.llm.model": "my-model", "spark.llm.reasoning.modes": json.dumps(own)}
    assert reasoning_of(modes(conf, reasoning="on")).fields == {"think": 1}
    with pytest.raises(SparkLLMError, match="LLM_INVALID_CONF.*unknown keys"):
        modes(conf | {"spark.llm.reasoning.modes": '{"Mine": {"models": "x", "onn": {}}}'})


def model_folder(folder, template):
    (folder / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return str(folder)


def test_a_template_without_the_switch_has_none(tmp_path):
    conf = parse_conf({})
    assert family_for(conf, model_folder(tmp_path, "{% if enable_thinking %}…")).name == "Qwen3"
    assert family_for(conf, model_folder(tmp_path, "plain")) is None


def test_the_engine_gets_its_familys_parser(tmp_path):
    def arguments(model, **conf):
        return launch_of(parse_conf(conf), model, "m", "/s", Machine("cpu", 2), {}).arguments

    knows = arguments(model_folder(tmp_path, "{% if enable_thinking %}…"))
    assert knows[knows.index("--reasoning-parser") + 1] == "qwen3"
    own = {"spark.llm.engine.args": '{"reasoning-parser": "deepseek_r1"}'}
    assert "deepseek_r1" in arguments(str(tmp_path), **own)
    assert "--reasoning-parser" not in arguments("Llama-3.1-8B")


@pytest.mark.parametrize(
    "model",
    ["EXAONE-4.0-32B", "DeepSeek-R1-0528-Qwen3-8B", "QwQ-32B", "Qwen3-4B-Thinking-2507", "Olmo-3-7B-Think",
     "granite-3.3-8b-instruct", "Hunyuan-A13B-Instruct", "gpt-oss-20b", "Magistral-Small"],
)  # fmt: skip
def test_a_family_whose_parser_takes_answers_for_thoughts_gets_none(model):
    launch = launch_of(parse_conf({}), model, "m", "/s", Machine("cpu", 2), {})
    assert "--reasoning-parser" not in launch.arguments
    # Nor does a query that says nothing of reasoning say anything to the model.
    assert reasoning_of(modes({"spark.llm.model": model})) == Reasoning()


def test_where_no_parser_splits_thinking_is_not_budgeted_or_not_asked_for():
    assert modes({"spark.llm.model": "Qwen3-8B"}, reasoning="on").on.enforced
    assert not modes({"spark.llm.model": "EXAONE-4.0-32B"}, reasoning="on").on.enforced
    granite = {"spark.llm.model": "granite-3.3-8b-instruct"}
    with pytest.raises(SparkLLMError, match="LLM_INVALID_OPTION.*parser for Granite"):
        modes(granite, reasoning="on")
    own = granite | {"spark.llm.engine.args": '{"reasoning_parser": "granite"}'}
    assert modes(own, reasoning="on").on.on


def test_marks_of_a_parser_that_does_not_tell_them():
    launch = launch_of(parse_conf({}), "DeepSeek-V3.1", "m", "/s", Machine("cpu", 2), {})
    config = launch.arguments[launch.arguments.index("--reasoning-config") + 1]
    assert json.loads(config) == {"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}
    qwen = launch_of(parse_conf({}), "Qwen3-8B", "m", "/s", Machine("cpu", 2), {})
    assert "--reasoning-config" not in qwen.arguments


class Response:
    status_code, text, reason_phrase = 200, "", ""

    def __init__(self, message, finish="stop", reasoning_tokens=None, logprobs=None):
        details = {"reasoning_tokens": reasoning_tokens}
        usage = {"prompt_tokens": 9, "completion_tokens": 20, "completion_tokens_details": details}
        choice = {"message": message, "finish_reason": finish, "logprobs": logprobs}
        self.body = {"choices": [choice], "usage": usage}

    def json(self):
        return self.body


def test_an_endpoints_thinking_is_no_part_of_the_answer():
    inside = read_response(Response({"content": "<think>9 + 4</think>13"}), wrapped=False)
    assert (inside.text, inside.thinking_tokens > 0) == ("13", True)
    beside = read_response(
        Response({"content": "13", "reasoning": "9 + 4"}, reasoning_tokens=11), wrapped=False
    )
    assert (beside.text, beside.thinking_tokens) == ("13", 11)
    typed = read_response(Response({"content": '<think>x</think>{"value": 13}'}), wrapped=True)
    assert typed.text == "13"
    unended = read_response(Response({"content": None, "reasoning": "9 + 4 is"}, "length"), wrapped=False)
    assert told(unended, Reasoning(on=True)).thinking_cut


RULES = (Rule.of("hard", "12", "13", 30),)


def fake(users, **reasoning):
    return (
        FakeEngine(RULES).submit([EngineRequest("s", user) for user in users], sampling(**reasoning)).result()
    )


def test_the_fake_engine_thinks():
    off = fake(["hard", "easy"], figures=True)
    on = fake(["hard", "easy"], on=True, budget_tokens=100)
    assert off[0].text == "12"
    assert [one.text for one in on] == ["13", off[1].text]
    assert (off[0].thinking_tokens, on[0].thinking_tokens, on[0].reasoned) == (0, 30, True)
    assert on[0].generated_tokens == off[0].generated_tokens + 30
    assert off[0].figures.margin < off[1].figures.margin
    (cut,) = fake(["hard"], on=True, budget_tokens=20)
    assert (cut.text, cut.thinking_tokens, cut.thinking_cut) == ("12", 20, True)
    assert replace(fake(["hard"], figures=True)[0], cached_prompt_tokens=0) == replace(
        off[0], cached_prompt_tokens=0
    )
