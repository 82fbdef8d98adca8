"""What the worker knows about the engine that will answer, without asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spark_llm.conf import resolve_model
from spark_llm.worker.in_flight import lag_of, mode_of

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.worker.in_flight import Mode

# vLLM's own on a GPU, and a fair guess for what is behind an endpoint.
BLOCK_TOKENS: Final = 16
# Few enough that an answer does not wait long for its neighbours, enough that HTTP costs little per row.
_KEPT_SLICE: Final = 8


class EngineTraits(NamedTuple):
    """How an engine shares prefixes.

    Attributes:
        mode: how prefix groups are sent to it.
        lag: requests that it may compute together.
        block_tokens: only whole blocks of so many tokens are shared.
        kept_slice: requests that are sent together, and answered together, where each answer is kept at once.
        counts_uses: whether it evicts by what rows tell of those to come.
    """

    mode: Mode
    lag: int
    block_tokens: int
    kept_slice: int = 1
    counts_uses: bool = False


def traits_of(conf: Conf, model: str | None) -> EngineTraits:
    """Returns the traits of the engine that answers calls of ``model``.

    Args:
        conf: checked settings.
        model: as the call names it; None for spark.llm.model.

    Raises:
        SparkLLMError: LLM_MODEL_NOT_SET or LLM_MODEL_NOT_FOUND.
    """
    fake = conf.text("spark.llm.engine.kind") == "fake"
    remote = not fake and resolve_model(conf, model).endpoint is not None
    return EngineTraits(
        mode_of(conf, remote=remote),
        lag_of(conf, remote=remote),
        _block_tokens(conf, fake=fake, remote=remote),
        # An endpoint gets single requests in any case.
        1 if remote else _KEPT_SLICE,
        not fake and not remote and _counts_uses(conf) and _on_cpu(),
    )


def _counts_uses(conf: Conf) -> bool:
    # With a scheduler of the user's own, or without our part of the configuration, nobody would read them.
    own = {key.replace("_", "-") for key in conf.get("spark.llm.engine.args") or {}}
    return conf.flag("spark.llm.memory.plannedUses.enabled") and own.isdisjoint(
        {"scheduler-cls", "additional-config"}
    )


def _on_cpu() -> bool:
    from spark_llm.engine.machine import device

    return device() == "cpu"


def _block_tokens(conf: Conf, *, fake: bool, remote: bool) -> int:
    if fake:
        from spark_llm.engine.fake_cache import BLOCK_TOKENS as FAKE_BLOCK_TOKENS

        return FAKE_BLOCK_TOKENS
    if remote:
        return BLOCK_TOKENS
    if (chosen := conf.get("spark.llm.engine.blockSize")) is not None:
        return int(chosen)
    from spark_llm.engine.vllm_args import CPU_BLOCK_TOKENS

    return CPU_BLOCK_TOKENS if _on_cpu() else BLOCK_TOKENS
