"""The user message of a row, by cutting and joining text: no JSON is parsed on the way."""

from __future__ import annotations

import json
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spark_llm.conf import Conf

NULL_FIELD: Final = "{}"
_VALUE: Final = slice(len('{"v":'), -len("}"))


def system_for(conf: Conf) -> str:
    """Returns the system message: spark.llm.systemPrompt, or its default."""
    return conf.text("spark.llm.systemPrompt")


def prompt_hash(system: str, user: str) -> str:
    """Returns SHA-256 of a prompt's two messages, a NUL between them: 64 hex digits."""
    return sha256(f"{system}\0{user}".encode(errors="replace")).hexdigest()


class Renderer:
    """Renders the rows of one call, whose field names are fixed.

    Args:
        names: field names in written order; any text, also quotes and control characters.
        any_order: groups of positions whose values may change places. Their names stay: in each prompt the
            first value of a group stands under its first name, and so on.
    """

    def __init__(self, names: Sequence[str], any_order: Sequence[Sequence[int]] = ()) -> None:
        self._keys = [f"{json.dumps(name, ensure_ascii=False)}: " for name in names]
        self._groups = [tuple(group) for group in any_order]
        self._written = tuple(range(len(names)))
        self._forms: dict[tuple[int, ...], Form] = {}

    def form(self, order: Sequence[int] | None = None) -> Form:
        """Returns the renderer of rows whose fields stand in ``order``; made once per order.

        Args:
            order: positions into ``names``, a permutation; None for the written order.
        """
        places = self._written if order is None else tuple(order)
        if places not in self._forms:
            self._forms[places] = Form(self._keys, places, self._groups)
        return self._forms[places]

    def user(self, instruction: str, texts: Sequence[str]) -> str | None:
        """Returns the user message of one row in written order; see `Form.user`."""
        return self.form().user(instruction, texts)


class Form:
    """One field order of a call.

    Args:
        keys: ``"name": `` per field, in written order.
        order: positions into ``keys`` in prompt order.
        groups: see ``any_order`` of `Renderer`.

    Attributes:
        order: as given.
    """

    def __init__(
        self, keys: Sequence[str], order: tuple[int, ...], groups: Sequence[tuple[int, ...]]
    ) -> None:
        self.order = order
        named = list(order)
        # Places in the prompt that a group has: its names go there in written order, whatever value comes.
        self._groups = [[at for at, place in enumerate(order) if place in group] for group in groups]
        for group, taken in zip(groups, self._groups, strict=True):
            for at, place in zip(taken, sorted(group), strict=True):
                named[at] = place
        self._keys = [keys[place] for place in named]
        self._template = "%s\n{" + ", ".join(key.replace("%", "%%") + "%s" for key in self._keys) + "}"
        self._pick = _picker(order)

    def user(
        self, instruction: str, texts: Sequence[str], sources: Sequence[int] | None = None
    ) -> str | None:
        """Returns the user message of one row.

        Args:
            instruction: what is asked; never NULL.
            texts: one ``{"v":VALUE}`` or ``{}`` per field in written order, shape (fields,).
            sources: whose value each field gets, positions into ``texts``, shape (fields,); None for its own.

        Returns:
            The message, or None when there are fields and all of them are NULL: such a row is not asked.
        """
        if sources is not None:
            texts = [texts[source] for source in sources]
        if NULL_FIELD not in texts:
            if not texts:
                return instruction
            return self._template % (instruction, *[text[_VALUE] for text in self._pick(texts)])
        picked = list(self._pick(texts))
        for places in self._groups:
            # Nulls go last, so that the names of a group are used from the first one on.
            present = [text for text in (picked[at] for at in places) if text != NULL_FIELD]
            present += [NULL_FIELD] * (len(places) - len(present))
            for at, text in zip(places, present, strict=True):
                picked[at] = text
        pairs = [
            key + text[_VALUE] for key, text in zip(self._keys, picked, strict=True) if text != NULL_FIELD
        ]
        return f"{instruction}\n{{{', '.join(pairs)}}}" if pairs else None


def _picker(order: tuple[int, ...]) -> Callable[[Sequence[str]], Sequence[str]]:
    if order == tuple(range(len(order))):
        return lambda texts: texts
    pick: Callable[[Sequence[str]], Sequence[str]] = itemgetter(*order)  # two at least: one has one order
    return pick
