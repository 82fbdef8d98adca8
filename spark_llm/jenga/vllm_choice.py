"""Which allocator an engine gets: what `spark.llm.memory.allocator` asks, what can be, and what pays.

vllm                                              vLLM's groups
jenga    ─► refusal? ─► the engine does not start, with the reason
auto     ─► refusal? ─► vLLM's groups, with the reason
         ─► choose: requests that fit in either layout, in enough large pages ─► jenga, or vLLM's groups
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spark_llm.jenga.choose import Choice, choose
from spark_llm.jenga.lengths import RowLengths
from spark_llm.jenga.vllm_layout import plan_of
from spark_llm.jenga.waste import GROUPED, JENGA, Length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm.config import VllmConfig

    from spark_llm.jenga.pages import PagePlan
    from spark_llm.jenga.vllm_layout import Layers

VLLM: Final = "vllm"
USUAL_TOKENS: Final = 512
"""Of a row, prompt and answer, as long as no earlier ones are known."""


def lengths_of(vllm_config: VllmConfig, folder: str | None) -> list[Length]:
    """Lengths that rows will have: those of earlier rows of the model, else of one usual row.

    Args:
        vllm_config: of the engine, which starts before it knows the query.
        folder: of `RowLengths`; None where nothing is kept.
    """
    longest = int(vllm_config.model_config.max_model_len)
    known = RowLengths(folder, model_of(vllm_config)).known() if folder else []
    return [
        replace(length, text_tokens=min(length.text_tokens, longest))
        for length in known or [Length(USUAL_TOKENS)]
    ]


def model_of(vllm_config: VllmConfig) -> str:
    """The name under which the lengths of a model's rows are kept."""
    return str(vllm_config.model_config.model)


def usual_tokens(lengths: Sequence[Length]) -> int:
    """The mean."""
    rows = sum(length.requests for length in lengths)
    return round(sum(length.text_tokens * length.requests for length in lengths) / rows)


def _said(lengths: Sequence[Length]) -> str:
    rows = sum(length.requests for length in lengths)
    if rows == 1:
        return f"for rows of {lengths[0].text_tokens:,} tokens, as no earlier ones are known"
    return f"for rows as long as {rows:,} earlier ones, {usual_tokens(lengths):,} tokens on average"


def refusal(vllm_config: VllmConfig, workers: int, device: str) -> str | None:
    """Why this engine cannot have Jenga, whatever its layers are; None when it can.

    Args:
        vllm_config: of the engine.
        workers: processes that hold a part of the model.
        device: where it computes, such as ``cpu``.
    """
    cache, speculative = vllm_config.cache_config, vllm_config.speculative_config
    workers *= vllm_config.parallel_config.data_parallel_size
    reasons = {
        f"on a {device} its runner counts all groups' blocks alike": device != "cpu",
        f"the model is spread over {workers} workers": workers != 1,
        "a KV connector or the offloading of KV blocks counts all groups' blocks alike": (
            vllm_config.kv_transfer_config is not None or bool(cache.kv_offloading_size)
        ),
        "KV cache events name blocks that all groups share": vllm_config.kv_events_config is not None
        and vllm_config.kv_events_config.enable_kv_cache_events,
        "prefix_match_unit copies blocks by number, in all groups at once": cache.prefix_match_unit
        is not None,
        "num_gpu_blocks_override counts vLLM's blocks": cache.num_gpu_blocks_override is not None,
        "vLLM's hybrid KV cache manager is switched off": bool(
            vllm_config.scheduler_config.disable_hybrid_kv_cache_manager
        ),
        "LoRA adapters were never tried with it": vllm_config.lora_config is not None,
        "its draft model has layers of its own": speculative is not None
        and speculative.method not in ("custom_class", "ngram"),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def too_small(layers: Layers, plan: PagePlan, vllm_config: VllmConfig, memory_bytes: int) -> str | None:
    """Why the longest request would not fit, None when it does."""
    longest = {
        kv_spec: -(-spec.max_memory_usage_bytes(vllm_config) // spec.page_size_bytes)
        for kv_spec, spec in zip((replace(kv, layers=1) for kv in layers.kv_specs), layers.specs, strict=True)
    }
    needed = sum(
        -(-longest[replace(spec, layers=1)] // ratio)
        for spec, ratio in zip(plan.specs, plan.ratios, strict=True)
    )
    usable = plan.large_pages(memory_bytes) - 1
    if needed <= usable:
        return None
    return f"the longest request takes {needed:,} large pages and {max(usable, 0):,} are to be had"


def choice_of(
    asked: str,
    layers: Layers,
    vllm_config: VllmConfig,
    memory_bytes: int,
    why_not: str | None,
    lengths: Sequence[Length],
) -> Choice:
    """The allocator of an engine.

    Args:
        asked: the conf entry's value.
        layers: of the model.
        vllm_config: of the engine.
        memory_bytes: for the KV cache.
        why_not: what `refusal` found.
        lengths: what `lengths_of` found.

    Raises:
        ValueError: Jenga is asked for and cannot be had.
    """
    if asked == VLLM:
        return Choice(GROUPED, 0.0, "spark.llm.memory.allocator is vllm")
    if len(layers.specs) == 1:
        return Choice(GROUPED, 0.0, "all layers are alike: vLLM's pages waste nothing")
    why_not = why_not or layers.misfit()
    plan = None if why_not else plan_of(layers, memory_bytes)
    if plan is not None:
        why_not = too_small(layers, plan, vllm_config, memory_bytes)
    if why_not:
        if asked == JENGA:
            raise ValueError(
                f"spark.llm.memory.allocator=jenga, but this engine cannot have it: {why_not}. "
                "Set it to auto or vllm."
            )
        return Choice(GROUPED, 0.0, f"this engine cannot have Jenga: {why_not}")
    found = choose(layers.kv_specs, lengths, memory_bytes, block_tokens=layers.block_tokens)
    if asked == JENGA:
        return Choice(JENGA, found.gain, "spark.llm.memory.allocator is jenga")
    return replace(found, reason=f"{found.reason}, {_said(lengths)}")
