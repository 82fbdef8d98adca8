"""vLLM's KV cache laid out by a `PagePlan`: one `KVCacheConfig` of which every group has its own pages.

    one allocation   | large page 0 | large page 1 | large page 2 | …
    group "window"   |0 |1 |2 |3 |4 |5 |6 |7 |8 |9 |…                 block i at i × small_bytes
    group "full"     |0     |1      |2     |3      |…                 block i at i × small_bytes
                      └ null blocks

Groups overlay each other, as vLLM's own do. It is sound because a large page belongs to one group at a time,
which `vllm_pools` sees to; block ids count the group's own pages. The worker needs no change: it takes
strides and `num_blocks_of` from the config.

Source: vLLM 0.32, v1/kv_cache_interface.py (`KVCacheTensor`) and v1/worker/utils.py (`allocate_kv_cache`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
    MambaSpec,
    SlidingWindowSpec,
)

from spark_llm.jenga.layers import TokenPolicy
from spark_llm.jenga.pages import plan_pages
from spark_llm.jenga.specs import KVSpec, LayerType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheSpec

    from spark_llm.jenga.pages import PagePlan


@dataclass
class JengaKVCacheConfig(KVCacheConfig):
    """`num_blocks` counts large pages.

    Attributes:
        ratios: small pages per large page, by group.
        expected_pages: small pages that a usual request will need, by group.
        large_bytes: a large page.
    """

    ratios: tuple[int, ...] = ()
    expected_pages: tuple[int, ...] = ()
    large_bytes: int = 0

    def num_blocks_of(self, tensor: KVCacheTensor) -> int:
        """Small pages that the group of the tensor can address."""
        return int(tensor.size // tensor.block_stride)


@dataclass(frozen=True)
class Layers:
    """The layers of a model by their spec, in order of first appearance.

    Attributes:
        specs: as vLLM has them, states without the padding to an attention page.
        names: layers of each.
    """

    specs: tuple[KVCacheSpec, ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def kv_specs(self) -> tuple[KVSpec, ...]:
        """As the policy has them; `misfit` must have found nothing."""
        return tuple(_kv_spec(spec, len(names)) for spec, names in zip(self.specs, self.names, strict=True))

    @property
    def block_tokens(self) -> int:
        """Tokens per block, equal for all layers that keep tokens."""
        return next(int(spec.block_size) for spec in self.specs if not isinstance(spec, MambaSpec))

    @property
    def has_states(self) -> bool:
        """Whether some layers keep states."""
        return any(isinstance(spec, MambaSpec) for spec in self.specs)

    def misfit(self) -> str | None:
        """Why these layers cannot be laid out, None when they can."""
        tokens = [spec for spec in self.specs if not isinstance(spec, MambaSpec)]
        # Subclasses (latent attention, sinks, compressed caches) may lay a page out in another way.
        known = (FullAttentionSpec, SlidingWindowSpec, MambaSpec)
        for spec in self.specs:
            if type(spec) not in known:
                return f"it has layers of the kind {type(spec).__name__}, which were never tried"
            if isinstance(spec, MambaSpec):
                if spec.mamba_cache_mode != "align":
                    return f"its states are cached in the mode {spec.mamba_cache_mode}, not align"
            elif spec.page_size_padded is not None or spec.page_size_bytes % spec.block_size:
                return "its pages are padded or quantized"
            elif getattr(spec, "extra_retained_tokens", 0) or getattr(spec, "non_causal", False):
                return "it has several prediction modules, or layers that look ahead"
        if not tokens:
            return "all its layers keep states"
        if len({spec.block_size for spec in tokens}) > 1:
            return "its layers have blocks of different sizes"
        if len(tokens) > 1 and self.has_states:
            # vLLM's worker zeroes new blocks by number, in all groups that keep tokens at once.
            return "beside its states it has several kinds of layers that keep tokens"
        return None


def layers_of(specs: Mapping[str, KVCacheSpec]) -> Layers:
    """Gathers the layers of a worker by spec."""
    found: dict[Any, list[str]] = {}
    for name, spec in specs.items():
        key = replace(spec, page_size_padded=None) if isinstance(spec, MambaSpec) else spec
        found.setdefault(key, []).append(name)
    return Layers(tuple(found), tuple(map(tuple, found.values())))


def plan_of(layers: Layers, memory_bytes: int) -> PagePlan:
    """Pages for the layers; without states, types are cut into groups where few large pages would fit."""
    return plan_pages(
        layers.kv_specs,
        block_tokens=layers.block_tokens,
        memory_bytes=None if layers.has_states else memory_bytes,
    )


def config_of(
    layers: Layers, plan: PagePlan, memory_bytes: int, usual_tokens: int, like: KVCacheConfig
) -> JengaKVCacheConfig:
    """The config that puts the plan into effect.

    Args:
        layers: of the model.
        plan: its pages, of `plan_of`.
        memory_bytes: for all of them.
        usual_tokens: of a request, prompt and answer.
        like: vLLM's own config of the same model, for what is not a matter of layout.
    """
    large_pages = plan.large_pages(memory_bytes)
    names = {_kv_spec(spec, 1): list(of) for spec, of in zip(layers.specs, layers.names, strict=True)}
    specs = {_kv_spec(spec, 1): spec for spec in layers.specs}
    groups, tensors = [], []
    for kv_spec, small_bytes in zip(plan.specs, plan.small_bytes, strict=True):
        shape = replace(kv_spec, layers=1)
        of_group, names[shape] = names[shape][: kv_spec.layers], names[shape][kv_spec.layers :]
        groups.append(KVCacheGroupSpec(of_group, specs[shape]))
        tensors.append(
            KVCacheTensor(
                size=large_pages * plan.large_bytes,
                layers=of_group,
                layer_stride=small_bytes // kv_spec.layers,
                block_stride=small_bytes,
            )
        )
    return JengaKVCacheConfig(
        num_blocks=large_pages,
        kv_cache_tensors=tensors,
        kv_cache_groups=groups,
        prefix_cache_retention_interval=like.prefix_cache_retention_interval,
        ratios=plan.ratios,
        expected_pages=tuple(
            TokenPolicy(spec, tokens).peak_pages(usual_tokens)
            for spec, tokens in zip(plan.specs, plan.block_tokens, strict=True)
        ),
        large_bytes=plan.large_bytes,
    )


def concurrency_of(vllm_config: VllmConfig, config: JengaKVCacheConfig) -> float:
    """How many requests of the greatest length fit, as far as their small pages go."""
    needed = sum(
        -(-group.kv_cache_spec.max_memory_usage_bytes(vllm_config) // group.kv_cache_spec.page_size_bytes)
        / ratio
        for group, ratio in zip(config.kv_cache_groups, config.ratios, strict=True)
    )
    # The first large page holds the null blocks.
    return float((config.num_blocks - 1) / needed)


def _kv_spec(spec: KVCacheSpec, layers: int) -> KVSpec:
    if isinstance(spec, MambaSpec):
        states = 2 + spec.num_speculative_blocks + spec.num_prefill_checkpoint_blocks
        return KVSpec(LayerType.STATE_SPACE, layers, state_bytes=spec.page_size_bytes, states=states)
    window = spec.sliding_window if isinstance(spec, SlidingWindowSpec) else 0
    kind = LayerType.SLIDING_WINDOW if window else LayerType.FULL
    return KVSpec(kind, layers, token_bytes=spec.page_size_bytes // spec.block_size, window_tokens=window)
