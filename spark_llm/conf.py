"""Reading ``spark.llm.*``: typed, checked, with the defaults of one table.

    SET spark.llm.batchRows = 64          strings, as Spark keeps them
            |
    parse_conf(mapping)                   unknown key -> LLM_UNKNOWN_CONF, bad value -> LLM_INVALID_CONF
            |
    conf.integer("spark.llm.batchRows")   typed; the default of conf_entries.ENTRIES where nothing is set
            |
    resolve_model(conf, "small")          spark.llm.models.small.* and spark.llm.model -> which model, where

The table's other readers are the reference page (`docs_table`) and the JVM (`entries_json`).
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spark_llm.conf_entries import ENTRIES, SYSTEM_PROMPT
from spark_llm.conf_entry import Entry
from spark_llm.errors import SparkLLMError, model_not_found, nearest_first

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENTRIES",
    "SYSTEM_PROMPT",
    "Conf",
    "Entry",
    "Model",
    "docs_table",
    "entry_of",
    "parse_conf",
    "resolve_model",
]

PREFIX: Final = "spark.llm."
_EXACT: Final = {entry.key: entry for entry in ENTRIES if "<name>" not in entry.key}
_NAMED: Final = [
    (re.compile(re.escape(entry.key).replace("<name>", r"(?P<name>[\w-]+)")), entry)
    for entry in ENTRIES
    if "<name>" in entry.key
]


@functools.cache
def entry_of(key: str) -> Entry:
    """Returns the table's entry for ``key``.

    Raises:
        SparkLLMError: LLM_UNKNOWN_CONF with the nearest key that exists.
    """
    if key in _EXACT:
        return _EXACT[key]
    for pattern, entry in _NAMED:
        if pattern.fullmatch(key):
            return entry
    nearest = nearest_first(key, (entry.key for entry in ENTRIES))[0]
    raise SparkLLMError("LLM_UNKNOWN_CONF", key=key, nearest=nearest)


class Conf:
    """Checked settings: made by `parse_conf`.

    Attributes:
        settings: the ``spark.llm.*`` entries that were set, as text.
        time_zone: Spark's session time zone, in which answers without an offset are read.
    """

    def __init__(self, settings: Mapping[str, str], time_zone: str = "UTC") -> None:
        self.settings: Final = dict(settings)
        self.time_zone: Final = time_zone
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Returns the typed value of ``key``, else of its default, else None."""
        if key not in self._values:
            entry = entry_of(key)
            text = self.settings.get(key, entry.default)
            self._values[key] = None if text is None else entry.parse(text, key)
        return self._values[key]

    def text(self, key: str) -> str:
        """Returns the value of an entry that has a default, as text."""
        return str(self.get(key))

    def integer(self, key: str) -> int:
        """Returns the value of a whole-number or size (bytes) entry that has a default."""
        return int(self.get(key))

    def number(self, key: str) -> float:
        """Returns the value of a number or time (seconds) entry that has a default."""
        return float(self.get(key))

    def flag(self, key: str) -> bool:
        """Returns the value of a true-or-false entry."""
        return bool(self.get(key))


def parse_conf(mapping: Mapping[str, str]) -> Conf:
    """Checks settings and makes them typed.

    Args:
        mapping: any of Spark's settings as text; entries outside ``spark.llm.`` are left alone, except that
            ``spark.sql.session.timeZone`` becomes ``Conf.time_zone``.

    Raises:
        SparkLLMError: LLM_UNKNOWN_CONF or LLM_INVALID_CONF for the first wrong entry, by alphabet.
    """
    ours = {key: mapping[key] for key in sorted(mapping) if key.startswith(PREFIX)}
    conf = Conf(ours, mapping.get("spark.sql.session.timeZone") or "UTC")
    for key in ours:
        conf.get(key)
    return conf


class Model(NamedTuple):
    """Which model answers a call and where.

    Attributes:
        name: what the call or the conf said.
        path: hub name, path, or the name the endpoint knows it by.
        endpoint: base URL, None for the executor's own engine.
        secret_key: conf key and reference of the endpoint's credential, None when there is none.
    """

    name: str
    path: str
    endpoint: str | None
    secret: tuple[str, str] | None


def resolve_model(conf: Conf, name: str | None = None) -> Model:
    """Returns the model that ``model => name`` means; None means spark.llm.model.

    A name defined by spark.llm.models wins; any other is taken as a hub name or path as it stands. At
    kind=vllm an executor's engine serves one model, so any other than spark.llm.model needs an endpoint.

    Raises:
        SparkLLMError: LLM_MODEL_NOT_SET when there is no name at all, LLM_MODEL_NOT_FOUND when the
            executor's engine does not have it.
    """
    kind, default = conf.text("spark.llm.engine.kind"), conf.get("spark.llm.model")
    wanted = name or default or ("fake" if kind == "fake" else None)
    if wanted is None:
        raise SparkLLMError("LLM_MODEL_NOT_SET")
    found = _lookup(conf, wanted)
    served = None if default is None else _lookup(conf, default).path
    if kind == "vllm" and found.endpoint is None and found.path != served:
        raise model_not_found(wanted, {*_model_names(conf), *filter(None, [default])})
    return found


def _lookup(conf: Conf, name: str) -> Model:
    base = f"{PREFIX}models.{name}."
    named = name in _model_names(conf)
    path = conf.get(f"{base}path") if named else None
    endpoint = conf.get(f"{base}endpoint") if named else None
    key = f"{base}secret" if endpoint is not None else "spark.llm.engine.secret"
    if endpoint is None and conf.text("spark.llm.engine.kind") == "openai":
        endpoint = conf.get("spark.llm.engine.endpoint")
    secret = conf.get(key) if endpoint is not None else None
    return Model(name, path or name, endpoint, None if secret is None else (key, secret))


def _model_names(conf: Conf) -> set[str]:
    matches = (pattern.fullmatch(key) for key in conf.settings for pattern, _ in _NAMED)
    return {match["name"] for match in matches if match}


def docs_table() -> str:
    """Returns the reference table of all entries as Markdown."""
    lines = ["| Key | Default | Expected | SET needs | Meaning | Since |", "|---|---|---|---|---|---|"]
    for entry in ENTRIES:
        default = "(none)" if entry.default is None else f"`{entry.default}`"
        needs = "an engine restart" if entry.scope == "restart" else "nothing"
        cells = (f"`{entry.key}`", default, entry.expected(), needs, entry.doc, entry.since)
        lines.append(f"| {' | '.join(cell.replace(' | ', ', ') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def entries_json() -> str:
    """Returns the table for the JVM: ``{key: {"default", "type", …}}``, kept in conf-entries.json."""
    table = {
        entry.key: {
            "default": entry.default,
            "type": entry.kind,
            "scope": entry.scope,
            "allowed": list(entry.allowed) or None,
            "min": entry.low,
            "max": entry.high,
            "doc": entry.doc,
        }
        for entry in ENTRIES
    }
    return json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
