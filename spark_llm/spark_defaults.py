"""The settings a query would run with: spark-defaults.conf, then --conf."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SettingError(ValueError):
    """A `--conf` that is not of the form key=value."""


def read_settings(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Collects settings as spark-submit does; later ones win.

    Args:
        given: The values of `--conf`, each `key=value`.
        environ: SPARK_CONF_DIR, else SPARK_HOME, says where spark-defaults.conf lies.

    Raises:
        SettingError: A value of `--conf` has no `=`.
    """
    settings: dict[str, str] = {}
    folder = environ.get("SPARK_CONF_DIR")
    if not folder and environ.get("SPARK_HOME"):
        folder = f"{environ['SPARK_HOME']}/conf"
    if folder and (file := Path(folder) / "spark-defaults.conf").is_file():
        settings.update(parse_properties(file.read_text(encoding="utf-8")))
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"--conf needs key=value, got {pair!r}")
        settings[key.strip()] = value.strip()
    return settings


def parse_properties(text: str) -> dict[str, str]:
    """Reads lines of `key value`, `key=value` or `key: value`; `#` and `!` start a comment."""
    settings = {}
    for line in text.splitlines():
        found = re.match(r"\s*([^\s=:#!][^\s=:]*)\s*[\s=:]\s*(.*?)\s*$", line)
        if found:
            settings[found[1]] = found[2]
    return settings
