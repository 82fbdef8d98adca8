"""Telling a model's path from its hub name, before vLLM spends a minute to find out."""

from __future__ import annotations

from pathlib import Path

from spark_llm.errors import SparkLLMError


def model_argument(model: str) -> str:
    """What vLLM is given: an absolute path when `model` means a path, else the hub name as it is.

    A name that starts with / . or ~ means a path; any other does when it exists.

    Raises:
        SparkLLMError: LLM_MODEL_NOT_FOUND when it means a path where no model lies.
    """
    path = Path(model).expanduser()
    looks_like_path = model.startswith(("/", ".", "~"))
    if not looks_like_path and not path.exists():
        return model
    if (path / "config.json").is_file() or path.is_file():
        return str(path.absolute())
    if not looks_like_path:
        return model  # a folder that happens to be called like the hub name
    reason = "there is no config.json in it" if path.is_dir() else "there is no such path on this machine"
    raise SparkLLMError("LLM_MODEL_NOT_FOUND", {"model": model, "known": f"(none: {reason})"})
