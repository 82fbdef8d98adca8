"""The user message of a row, by cutting and joining text: no JSON is parsed on the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.conf import Conf

NULL_FIELD: Final = "{}"
_VALUE: Final = slice(len('{"v":'), -len("}"))


def system_for(conf: Conf) -> str:
    """Returns the system message: spark.llm.systemPrompt, or its default."""
    return conf.text("spark.llm.systemPrompt")


class Renderer:
    """Renders the rows of one call, whose field names are fixed.

    Args:
        names: field names in prompt order; any text, also quotes and control characters.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._keys = [f"{json.dumps(name, ensure_ascii=False)}: " for name in names]
        self._template = "%s\n{" + ", ".join(key.replace("%", "%%") + "%s" for key in self._keys) + "}"

    def user(self, instruction: str, texts: Sequence[str]) -> str | None:
        """Returns the user message of one row.

        Args:
            instruction: what is asked; never NULL.
            texts: one ``{"v":VALUE}`` or ``{}`` per field, shape (fields,).

        Returns:
            The message, or None when there are fields and all of them are NULL: such a row is not asked.
        """
        if NULL_FIELD not in texts:
            if not texts:
                return instruction
            return self._template % (instruction, *[text[_VALUE] for text in texts])
        pairs = [
            key + text[_VALUE] for key, text in zip(self._keys, texts, strict=True) if text != NULL_FIELD
        ]
        return f"{instruction}\n{{{', '.join(pairs)}}}" if pairs else None
