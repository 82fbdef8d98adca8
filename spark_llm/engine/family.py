"""The family of a model, by its name, and by its files where they are on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.errors import invalid_conf
from spark_llm.router.modes import family_of

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.router.modes import Family

_KEY = "spark.llm.reasoning.modes"


def family_for(conf: Conf, model: str) -> Family | None:
    """The family of a model as far as its switch works; None where no switch is known.

    Where the model's chat template can be read and does not know the switch, it has none, whatever its name.

    Args:
        conf: checked settings; their families come first.
        model: hub name, path, or the name an endpoint knows it by.

    Raises:
        SparkLLMError: LLM_INVALID_CONF for a family in spark.llm.reasoning.modes that is not well-formed.
    """
    folder = Path(model).expanduser()
    own = conf.get(_KEY) or {}
    try:
        extra = [{"name": name, **entry} for name, entry in own.items()]
        family = family_of(model, _architecture(folder), extra=extra)
    except (TypeError, ValueError) as error:
        raise invalid_conf(_KEY, json.dumps(own), f"families by name ({error})") from None
    if family is None or (template := _template(folder)) is None:
        return family
    flags = [
        flag for mode in (family.off, family.on) for flag in (mode or {}).get("chat_template_kwargs", ())
    ]
    return family if all(flag in template for flag in flags) else None


def _architecture(folder: Path) -> str | None:
    names = _read(folder / "config.json").get("architectures")
    return str(names[0]) if names else None


def _template(folder: Path) -> str | None:
    """The model's chat template, None where it cannot be read here."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    template = _read(folder / "tokenizer_config.json").get("chat_template")
    return None if template is None else json.dumps(template)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
