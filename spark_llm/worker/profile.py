"""How the prompts of a task share their beginnings, for the run report; made only where one is asked for.

    sent ─► answered ─► up to 2048 requests ─► summary   one JSON text, on the first row of a batch
                                                 levels  per place in the prompt: fields, different prefixes,
                                                         tokens, those reused
                                                 tree    the same requests as an icicle, small runs folded

A level's tokens are its share of the characters of the prompt, times the tokens that the engine counted; the
tokens found in its cache are the first ones. Values become labels with spark.llm.logPrompts.enabled only.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from spark_llm.analyze.folding import Strip
from spark_llm.prompts import system_for
from spark_llm.prompts.render import NULL_FIELD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineAnswer
    from spark_llm.worker.command import Call
    from spark_llm.worker.planning import Planned

WINDOW_REQUESTS: Final = 2048
MAX_FIELDS: Final = 8
# Narrower runs are folded: the picture has a few hundred places, and the text travels with each heartbeat.
_MIN_SHARE: Final = 1 / 60
_MAX_FOLDED_SHARE: Final = 1 / 8
_LABEL_CHARS: Final = 60
_VALUE: Final = slice(len('{"v":'), -len("}"))


class _Asked(NamedTuple):
    lead: tuple[str, int]
    fields: list[tuple[str, str, int]]
    prompt_tokens: int
    cached_tokens: int


def profile_of(call: Call, conf: Conf) -> PrefixProfile | None:
    """Returns a profile where spark.llm.report.dir is set, else None."""
    return PrefixProfile(call, conf) if (conf.get("spark.llm.report.dir") or "").strip() else None


class PrefixProfile:
    """Collects the requests of a task.

    Args:
        call: what is asked.
        conf: checked settings.
    """

    def __init__(self, call: Call, conf: Conf) -> None:
        self._names = call.field_names
        self._system_chars = len(system_for(conf))
        self._labels = conf.flag("spark.llm.logPrompts.enabled")
        self._sent: deque[tuple[tuple[str, int], list[tuple[str, str, int]]]] = deque()
        self._asked: list[_Asked] = []

    def sent(self, taken: Sequence[Planned]) -> None:
        """Requests that go out; their answers come in the same order."""
        for each in taken:
            question, form, sources = each.question, each.form, each.sources
            texts = question.texts if sources is None else [question.texts[at] for at in sources]
            cells = []
            for place in form.order:
                name, text = self._names[place], texts[place]
                size = 0 if text == NULL_FIELD else len(name) + 6 + len(text) - 6
                cells.append((name, text, size))
            lead = (question.instruction, self._system_chars + len(question.instruction))
            self._sent.append((lead, cells))

    def answered(self, answers: Sequence[EngineAnswer]) -> None:
        """Their answers."""
        for answer in answers:
            lead, cells = self._sent.popleft()
            if answer.prompt_tokens:
                self._asked.append(_Asked(lead, cells, answer.prompt_tokens, answer.cached_prompt_tokens))

    def take(self, *, last: bool) -> str | None:
        """Returns the summary of what was answered since the last one; None while that is too little.

        Args:
            last: no more may come, take what there is.
        """
        if not self._asked or (len(self._asked) < WINDOW_REQUESTS and not last):
            return None
        asked, self._asked = self._asked, []
        return json.dumps(_summary(asked, self._labels), ensure_ascii=False)


def _summary(asked: list[_Asked], labels: bool) -> dict[str, Any]:
    fields = max(len(each.fields) for each in asked)
    depth = 1 + min(fields, MAX_FIELDS)
    lumped = fields > MAX_FIELDS
    ids = np.zeros((len(asked), depth), np.int64)
    chars = np.zeros((len(asked), depth), np.int64)
    # In order of first appearance, so that equal prefixes stand together however they were sent.
    numbers: list[dict[tuple[int, str, str], int]] = [{} for _ in range(depth)]
    for row, each in enumerate(asked):
        cells = [("", *each.lead), *each.fields]
        parent = 0
        for level in range(depth):
            name, text, size = cells[level]
            if lumped and level == depth - 1:
                rest = cells[level:]
                name, text, size = "", "\0".join(cell[1] for cell in rest), sum(cell[2] for cell in rest)
            parent = numbers[level].setdefault((parent, name, text), len(numbers[level]))
            ids[row, level], chars[row, level] = parent, size
    order = np.lexsort(ids.T[::-1])
    ids, chars = ids[order], chars[order]
    asked = [asked[row] for row in order.tolist()]
    tokens, reused = _tokens(asked, chars)
    prompt = np.asarray([each.prompt_tokens for each in asked], np.int64)
    edges = np.zeros(len(asked) + 1, np.int64)
    np.cumsum(prompt, out=edges[1:])
    parents, levels, tree = np.zeros(1, np.int64), [], []
    for level in range(depth):
        names = Counter(_name(each, level, lumped and level == depth - 1) for each in asked)
        top = names.most_common(1)[0][0]
        name = f"… {fields - MAX_FIELDS + 1} more fields" if top == "" else top
        changed = np.ones(len(asked), np.bool_)
        changed[1:] = ids[1:, level] != ids[:-1, level]
        strip = Strip(edges, _MAX_FOLDED_SHARE, tokens[:, level], reused[:, level], _MIN_SHARE)
        nodes, parents = strip.fold(changed, parents, _Labels(asked, level, top, labels))
        sums = {"tokens": int(tokens[:, level].sum()), "reused_tokens": int(reused[:, level].sum())}
        levels.append({
            "fields": {key or name: count for key, count in names.items()},
            "requests": len(asked), "prefixes": len(numbers[level]), **sums,
        })  # fmt: skip
        tree.append({
            "name": name, "mixed": len(names) > 1, **sums,
            "nodes": [
                [round(n.begin, 5), round(n.end, 5), n.label, n.runs, n.requests, n.tokens, n.reused_tokens]
                for n in nodes
            ],
        })  # fmt: skip
    total = int(prompt.sum())
    return {"tokens": total, "levels": levels, "tree": {"prompt_tokens": total, "levels": tree}}


def _tokens(asked: list[_Asked], chars: Any) -> tuple[Any, Any]:
    """Tokens of each request at each level, and those of them that were reused, shapes (requests, levels)."""
    prompt = np.asarray([each.prompt_tokens for each in asked], np.float64)[:, None]
    cached = np.asarray([each.cached_tokens for each in asked], np.int64)[:, None]
    through = np.cumsum(chars, axis=1)
    ends = np.rint(prompt * through / np.maximum(through[:, -1:], 1)).astype(np.int64)
    reached = np.minimum(ends, cached)
    zero = np.zeros((len(asked), 1), np.int64)
    return np.diff(ends, axis=1, prepend=zero), np.diff(reached, axis=1, prepend=zero)


def _name(each: _Asked, level: int, lumped: bool) -> str:
    if level == 0:
        return "instruction"
    return "" if lumped else each.fields[level - 1][0]


class _Labels:
    """What nodes are called: values where they may be shown, else only whose values they are."""

    def __init__(self, asked: list[_Asked], level: int, name: str, values: bool) -> None:
        self._asked, self._level, self._name, self._values = asked, level, name, values

    def of(self, request: int) -> str:
        """The label of the node that begins with a request."""
        if self._level == 0:
            return "system message and instruction"
        if not self._name:
            return ""
        name, text, _ = self._asked[request].fields[self._level - 1]
        if text == NULL_FIELD:
            return "null"
        other = "" if name == self._name else name
        if not self._values:
            return other
        value = text[_VALUE]
        value = str(json.loads(value)) if value.startswith('"') else value
        value = value if len(value) <= _LABEL_CHARS else value[:_LABEL_CHARS] + "…"
        return f"{value} · {other}" if other else value
