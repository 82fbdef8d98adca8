"""How a model family is told to reason or not: a table, and the look-up by name or architecture.

The table is data; users put families of their own before it. Switches are those of the families' chat
templates and of vLLM's reasoning parsers. Source: arXiv 2510.08731 (Qwen3, DeepSeek, gpt-oss).
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mode = Literal["off", "on"]


@dataclass(frozen=True, slots=True)
class Family:
    """A model family and its switch.

    Attributes:
        name: for messages and EXPLAIN.
        models: regular expression, looked for in the model's name or path in lower case.
        architectures: regular expression, looked for in the architecture's name in lower case; used where no
            family knows the name.
        off: what a chat request gains so that the model does not reason; None where it cannot be told so.
        on: the same so that it reasons; None where it cannot.
        off_thinks: whether `off` means little thinking rather than none.
        parser: vLLM's reasoning parser, which the plug-in's engine gets for all calls; None where it has not
            been seen to leave requests that do not think as they are.
        start: text that opens a thought; empty where thoughts have a channel of their own.
        end: text that closes it.
    """

    name: str
    models: str = ""
    architectures: str = ""
    off: Mapping[str, Any] | None = field(default_factory=dict)
    on: Mapping[str, Any] | None = field(default_factory=dict)
    off_thinks: bool = False
    parser: str | None = None
    start: str = "<think>"
    end: str = "</think>"

    def request(self, mode: Mode) -> dict[str, Any]:
        """What a chat request gains in a mode: a fresh dictionary, to be merged into the request's body.

        Raises:
            ValueError: the family has no such mode.
        """
        changes = self.on if mode == "on" else self.off
        if changes is None:
            raise ValueError(f"{self.name} cannot be told to reason: {mode}")
        return deepcopy(dict(changes))

    @property
    def switchable(self) -> bool:
        """Whether it has both modes."""
        return self.off is not None and self.on is not None and self.off != self.on

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Family:
        """A family as users write it.

        Raises:
            ValueError: a key is unknown, a name or both patterns are missing, or a pattern is none.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(entry) - known):
            raise ValueError(f"unknown keys {unknown}; known: {sorted(known)}")
        if not entry.get("name") or not (entry.get("models") or entry.get("architectures")):
            raise ValueError("a family needs a name, and models or architectures")
        for key in ("models", "architectures"):
            try:
                re.compile(entry.get(key, ""))
            except re.error as error:
                raise ValueError(f"{key} is no regular expression: {entry[key]!r} ({error})") from error
        for key in ("off", "on"):
            if type(entry.get(key)) not in {dict, type(None)}:
                raise ValueError(f"{key} must be an object or null, not {entry[key]!r}")
        return cls(**entry)


def _template(flag: str, **rest: Any) -> dict[str, Any]:
    """Both modes of a chat template's flag."""
    return {
        "off": {"chat_template_kwargs": {flag: False}},
        "on": {"chat_template_kwargs": {flag: True}},
        **rest,
    }


FAMILIES: Final = (
    # Special editions before the family they stem from: the first that fits is taken.
    Family("Qwen3 Thinking", models=r"qwen3.*thinking", off=None),
    Family("Qwen3 Instruct", models=r"qwen3.*(instruct-2507|coder|next.*instruct)", on=None),
    Family("QwQ", models=r"qwq", off=None),
    Family("DeepSeek-R1", models=r"deepseek.*r1", off=None),
    Family("Qwen3", models=r"qwen-?3", architectures=r"^qwen3",
           **_template("enable_thinking", parser="qwen3")),
    Family("DeepSeek-V4", models=r"deepseek.*v4", architectures=r"^deepseekv4",
           **_template("thinking")),
    Family("DeepSeek-V3", models=r"deepseek.*v3\.[1-9]", architectures=r"^deepseekv32",
           **_template("thinking", parser="deepseek_v3")),
    Family("gpt-oss", models=r"gpt-?oss", architectures=r"^gptoss", off={"reasoning_effort": "low"},
           on={"reasoning_effort": "high"}, off_thinks=True, start="", end=""),
    Family("GLM", models=r"glm-?(4\.[5-9]|5)", architectures=r"^glm4moe",
           **_template("enable_thinking")),
    Family("Granite", models=r"granite-?3\.[23]", **_template("thinking",
           start="Here is my thought process:", end="Here is my response:")),
    Family("Hunyuan", models=r"hunyuan.*a13b", architectures=r"^hunyuanmoe",
           **_template("enable_thinking")),
    Family("Nemotron", models=r"nemotron.*(nano|v[23]|-3)", architectures=r"^nemotronh",
           **_template("enable_thinking")),
    Family("Kimi K2 Thinking", models=r"kimi-?k2-thinking", off=None),
    Family("Kimi", models=r"kimi-?k(2\.[5-9]|3)", **_template("thinking")),
    Family("Holo2", models=r"holo-?2", **_template("thinking")),
    Family("Gemma 4", models=r"gemma-?4", architectures=r"^gemma4",
           **_template("enable_thinking", start="<|channel>", end="<channel|>")),
    Family("ERNIE", models=r"ernie-?4\.5.*thinking", off=None),
    Family("MiniMax-M2", models=r"minimax-?m2", architectures=r"^minimaxm2", off=None),
    Family("MiniMax-M3", models=r"minimax-?m3", architectures=r"^minimaxm3",
           off={"chat_template_kwargs": {"thinking_mode": "disabled"}},
           on={"chat_template_kwargs": {"thinking_mode": "enabled"}}, start="<mm:think>", end="</mm:think>"),
    Family("SmolLM3", models=r"smollm-?3", architectures=r"^smollm3",
           **_template("enable_thinking")),
    Family("EXAONE 4", models=r"exaone-?4", architectures=r"^exaone4",
           **_template("enable_thinking")),
    Family("OLMo 3 Think", models=r"olmo-?3.*think", off=None),
    Family("Magistral", models=r"magistral", off=None, start="[THINK]", end="[/THINK]"),
)  # fmt: skip
"""Each family's switch; the first whose pattern fits is taken."""


def family_of(
    model: str, architecture: str | None = None, *, extra: Iterable[Family | Mapping[str, Any]] = ()
) -> Family | None:
    """The family of a model; None where no one knows it, which is a model without a switch.

    Args:
        model: name or path, as the engine is given it.
        architecture: from the model's configuration, such as `Qwen3ForCausalLM`.
        extra: families of the user, which go before the table.

    Raises:
        ValueError: an extra family is not well-formed, see `Family.from_dict`.
    """
    own = [each if isinstance(each, Family) else Family.from_dict(each) for each in extra]
    table = (*own, *FAMILIES)
    name = model.lower()
    for family in table:
        if family.models and re.search(family.models, name):
            return family
    for family in table:
        if architecture and family.architectures and re.search(family.architectures, architecture.lower()):
            return family
    return None


def family_of_template(template: str) -> Family | None:
    """The switch that a chat template reads, for a model whose name says nothing; None where it reads none.

    Args:
        template: the chat template's source, as in `tokenizer_config.json`.
    """
    for flag in ("enable_thinking", "thinking"):
        if re.search(rf"(?<![\w.<|/]){flag}(?![\w>|])\s*(is|==|!=|%}}|and|or|\)|else)", template):
            return Family(f"chat template with {flag}", **_template(flag))
    return None
