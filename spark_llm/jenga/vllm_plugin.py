"""Jenga in vLLM: a plug-in that lays out the KV cache, and a scheduler mixin that hands out its pages.

    --additional-config {"spark_llm": {"memory": {"allocator": "auto"}}}
    EngineCore starts
      get_kv_cache_configs()    vLLM's groups ─► vllm_choice ─► the same, or vllm_layout
      update_kv_cache_capacity()   vLLM's line about it, counted in large pages where the layout is ours
      Scheduler.__init__()      JengaMixin ─► vllm_pools, where the layout is ours
      each step                 LcmPool by way of vLLM's own managers, which know layers and prefixes

The plug-in is an entry point of `vllm.general_plugins`, which every vLLM of the environment runs: it does
nothing unless `additional_config` has our part.

Source: vLLM 0.32, v1/engine/core.py (`_initialize_kv_caches`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from spark_llm.engine.vitals import leave_choice
from spark_llm.jenga.lengths import RowLengths
from spark_llm.jenga.waste import JENGA
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheSpec
    from vllm.v1.request import Request

    from spark_llm.jenga.choose import Choice
    from spark_llm.jenga.vllm_pools import SharedPages
else:
    Scheduler = object

PART: Final = "memory"
_SAVE_EVERY_S: Final = 30.0


def register() -> None:
    """Has vLLM's engine core ask us for the layout; safe to call more than once."""
    from vllm.v1.engine import core

    vllms_own = core.get_kv_cache_configs
    if _registered():
        return

    def get_kv_cache_configs(
        vllm_config: VllmConfig, kv_cache_specs: list[dict[str, KVCacheSpec]], available_memory: list[int]
    ) -> list[KVCacheConfig]:
        configs: list[KVCacheConfig] = vllms_own(vllm_config, kv_cache_specs, available_memory)
        return laid_out(vllm_config, kv_cache_specs, available_memory, configs)

    vllms_capacity = core.update_kv_cache_capacity

    def update_kv_cache_capacity(vllm_config: VllmConfig, kv_cache_config: KVCacheConfig) -> None:
        if not _told_capacity(vllm_config, kv_cache_config):
            vllms_capacity(vllm_config, kv_cache_config)

    get_kv_cache_configs.spark_llm = True  # type: ignore[attr-defined]
    core.get_kv_cache_configs = get_kv_cache_configs
    core.update_kv_cache_capacity = update_kv_cache_capacity


def _registered() -> bool:
    from vllm.v1.engine import core

    return bool(getattr(core.get_kv_cache_configs, "spark_llm", False))


def laid_out(
    vllm_config: VllmConfig,
    kv_cache_specs: list[dict[str, KVCacheSpec]],
    available_memory: list[int],
    configs: list[KVCacheConfig],
) -> list[KVCacheConfig]:
    """The configs that vLLM made, or ours where the engine gets Jenga.

    Raises:
        ValueError: Jenga is asked for and cannot be had.
    """
    settings = settings_of(vllm_config, PART)
    if settings is None or not kv_cache_specs or not kv_cache_specs[0]:
        return configs
    from vllm.platforms import current_platform

    from spark_llm.jenga.vllm_choice import choice_of, lengths_of, refusal, usual_tokens
    from spark_llm.jenga.vllm_layout import config_of, layers_of, plan_of

    layers = layers_of(kv_cache_specs[0])
    memory_bytes = min(available_memory)
    why_not = refusal(vllm_config, len(kv_cache_specs), current_platform.device_type)
    if why_not is None and not issubclass(vllm_config.scheduler_config.get_scheduler_cls(), JengaMixin):
        why_not = "another scheduler than ours hands out its pages"
    lengths = lengths_of(vllm_config, settings.get("dir"))
    choice = choice_of(settings["allocator"], layers, vllm_config, memory_bytes, why_not, lengths)
    if choice.allocator == JENGA:
        plan = plan_of(layers, memory_bytes)
        configs = [config_of(layers, plan, memory_bytes, usual_tokens(lengths), configs[0])]
    _tell(choice, configs[0].num_blocks, settings.get("file"))
    return configs


def _tell(choice: Choice, blocks: int, file: str | None) -> None:
    """Says in the engine's log, and in the file that its supervisor reads, which allocator it is and why."""
    from vllm.logger import init_logger

    pages = "large pages" if choice.allocator == JENGA else "blocks"
    init_logger("vllm.spark_llm.memory").info(
        "KV cache: %s, %d %s: %s", choice.allocator, blocks, pages, choice.reason
    )
    leave_choice(
        file,
        {"allocator": choice.allocator, "reason": choice.reason, "gain": choice.gain, "pages": blocks},
    )


def _told_capacity(vllm_config: VllmConfig, config: KVCacheConfig) -> bool:
    """Whether the layout is ours, and what fits was told: vLLM would take large pages for blocks."""
    from vllm.logger import init_logger

    from spark_llm.jenga.vllm_layout import JengaKVCacheConfig, concurrency_of

    if not isinstance(config, JengaKVCacheConfig):
        return False
    concurrency, longest = concurrency_of(vllm_config, config), vllm_config.model_config.max_model_len
    vllm_config.cache_config.kv_cache_size_tokens = int(concurrency * longest)
    vllm_config.cache_config.kv_cache_max_concurrency = concurrency
    init_logger("vllm.spark_llm.memory").info(
        "KV cache size: %s tokens, Maximum concurrency for %s tokens per request: %.2fx",
        f"{int(concurrency * longest):,}", f"{longest:,}", concurrency,
    )  # fmt: skip
    return True


class JengaMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`."""

    jenga: SharedPages | None = None
    _lengths: RowLengths | None = None
    _save_at_s = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from spark_llm.jenga.vllm_layout import JengaKVCacheConfig

        settings = settings_of(self.vllm_config, PART)
        if settings is not None and settings.get("dir"):
            from spark_llm.jenga.vllm_choice import model_of

            self._lengths = RowLengths(settings["dir"], model_of(self.vllm_config))
        if isinstance(self.kv_cache_config, JengaKVCacheConfig):
            from spark_llm.jenga.vllm_pools import install

            self.jenga = install(self.kv_cache_manager.coordinator, self.kv_cache_config)
            self.kv_cache_manager.block_pool = self.jenga
        elif settings is not None and settings["allocator"] == JENGA and not _registered():
            raise ValueError(
                "spark.llm.memory.allocator=jenga, but vLLM did not load the plug-in spark_llm_memory: "
                "name it in VLLM_PLUGINS"
            )

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        if self._lengths is not None and request.num_computed_tokens:
            self._lengths.add(request.num_tokens)
            if time.monotonic() >= self._save_at_s:
                self._save_lengths()
        return super()._free_request(request, delay_free_blocks)

    def shutdown(self) -> None:
        """Ends with the lengths of rows kept."""
        self._save_lengths()
        super().shutdown()

    def _save_lengths(self) -> None:
        """A folder that cannot be written costs the next engine's choice its grounds, and nothing else."""
        self._save_at_s = time.monotonic() + _SAVE_EVERY_S
        try:
            if self._lengths is not None:
                self._lengths.save()
        except OSError:
            self._lengths = None
