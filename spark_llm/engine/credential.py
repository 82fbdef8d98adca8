"""Credentials by reference: env:NAME or file:PATH, read where the request is made and kept nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.errors import SparkLLMError, invalid_conf

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_credential(key: str, reference: str, environ: Mapping[str, str]) -> str:
    """Reads the credential behind a reference.

    Args:
        key: the conf key that holds `reference`, for messages.
        reference: ``env:NAME`` or ``file:PATH``.
        environ: where NAME is looked up.

    Raises:
        SparkLLMError: LLM_INVALID_CONF for anything else than a reference (not repeated in the message, as
            it may be the credential itself), LLM_CREDENTIAL_NOT_FOUND when there is nothing behind it.
    """
    kind, colon, place = reference.partition(":")
    if kind not in {"env", "file"} or not colon or not place:
        raise invalid_conf(key, "(hidden)", "env:NAME or file:PATH, never the credential itself")
    if kind == "env":
        value, reason = environ.get(place, ""), "the environment variable is not set, or empty"
    else:
        try:
            value, reason = Path(place).read_text(encoding="utf-8"), "the file is empty"
        except (OSError, UnicodeDecodeError) as error:
            value, reason = "", getattr(error, "strerror", None) or "the file is not text"
    if not (value := value.strip()):
        raise SparkLLMError(
            "LLM_CREDENTIAL_NOT_FOUND", {"reference": reference, "key": key, "reason": reason}
        )
    return value
