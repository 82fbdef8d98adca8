"""The limits per minute of an endpoint, which all executors of the application share: asked of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.errors import engine_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spark_llm.conf import Conf


def pace_of(conf: Conf, environ: Mapping[str, str], endpoint: str) -> Callable[[int, int], float] | None:
    """Returns (requests, tokens of prompts and longest answers) -> seconds to wait before they may be sent.

    Whoever asks has reserved its turn and need not ask again. None where spark.llm.limits.rpm and tpm are
    unset.

    Raises:
        SparkLLMError: LLM_ENGINE_FAILED when there is a limit and no way to the driver.
    """
    rpm, tpm = conf.get("spark.llm.limits.rpm"), conf.get("spark.llm.limits.tpm")
    if rpm is None and tpm is None:
        return None
    from spark_llm.worker.port import Port

    port = Port.open(environ)
    if port is None:
        raise engine_failed(
            "limits per minute are set, and this worker has no way to the driver to share them"
        )

    def pace(requests: int, tokens: int) -> float:
        reply = port.call("pace", endpoint=endpoint, requests=requests, tokens=tokens, rpm=rpm, tpm=tpm)
        return float(reply["wait_s"])

    return pace
