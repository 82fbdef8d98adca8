"""Which switch a model has."""

import pytest

from spark_llm.router.modes import FAMILIES, Family, family_of, family_of_template


@pytest.mark.parametrize(
    ("model", "off", "on"),
    [
        (
            "Qwen/Qwen3-8B",
            {"chat_template_kwargs": {"enable_thinking": False}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
        (
            "deepseek-ai/DeepSeek-V3.1",
            {"chat_template_kwargs": {"thinking": False}},
            {"chat_template_kwargs": {"thinking": True}},
        ),
        ("openai/gpt-oss-20b", {"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
        (
            "zai-org/GLM-4.6",
            {"chat_template_kwargs": {"enable_thinking": False}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
    ],
)
def test_families_that_switch(model, off, on):
    family = family_of(model)
    assert family is not None
    assert family.switchable
    assert (family.request("off"), family.request("on")) == (off, on)


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3-4B-Thinking-2507", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "Qwen/QwQ-32B"]
)
def test_models_that_always_reason_say_so(model):
    family = family_of(model)
    assert family is not None
    assert not family.switchable
    with pytest.raises(ValueError, match="cannot be told to reason: off"):
        family.request("off")


def test_gpt_oss_thinks_a_little_when_off():
    assert family_of("gpt-oss-120b").off_thinks


def test_an_unknown_name_is_looked_up_by_architecture_and_else_has_no_switch():
    assert family_of("/models/ours", "Qwen3ForCausalLM").name == "Qwen3"
    assert family_of("/models/ours", "LlamaForCausalLM") is None
    assert family_of("meta-llama/Llama-3.1-8B-Instruct") is None


def test_families_of_the_user_go_first():
    own = {"name": "ours", "models": "qwen3-ours", "off": {"x": 0}, "on": {"x": 1}}
    assert family_of("Qwen3-ours", extra=[own]).request("on") == {"x": 1}
    assert family_of("Qwen3-8B", extra=[own]).name == "Qwen3"


def test_requests_are_fresh_copies():
    family_of("Qwen3-8B").request("on")["chat_template_kwargs"]["enable_thinking"] = 7
    assert family_of("Qwen3-8B").request("on")["chat_template_kwargs"]["enable_thinking"] is True


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "x"}, "a name, and models or architectures"),
        ({"name": "x", "models": "("}, "no regular expression"),
        ({"name": "x", "models": "y", "onn": {}}, "unknown keys"),
        ({"name": "x", "models": "y", "off": 3}, "must be an object or null"),
    ],
)
def test_a_family_that_is_not_well_formed_says_why(entry, message):
    with pytest.raises(ValueError, match=message):
        Family.from_dict(entry)


def test_a_family_may_leave_both_modes_out():
    assert not Family.from_dict({"name": "x", "models": "y"}).switchable


def test_names_are_unique():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_a_template_tells_its_flag():
    assert family_of_template("{% if enable_thinking is defined and enable_thinking is false %}").request(
        "on"
    ) == {"chat_template_kwargs": {"enable_thinking": True}}
    assert family_of_template("{%- if thinking %}<think>{% endif %}").request("off") == {
        "chat_template_kwargs": {"thinking": False}
    }
    assert family_of_template("{{ '<think>thinking</think>' }} {{ messages }}") is None
