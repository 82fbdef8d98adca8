"""What an engine cannot have our allocator for, and what decides where it can."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def engine(**changes):
    """The parts of a vLLM config that are looked at; `changes` by name, a dot as two underscores."""
    config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=1024, model="model"),
        cache_config=SimpleNamespace(
            kv_offloading_size=None, prefix_match_unit=None, num_gpu_blocks_override=None
        ),
        scheduler_config=SimpleNamespace(
            disable_hybrid_kv_cache_manager=False, max_num_batched_tokens=2048, max_num_seqs=8
        ),
        parallel_config=SimpleNamespace(
            data_parallel_size=1, decode_context_parallel_size=1, prefill_context_parallel_size=1
        ),
        speculative_config=None, kv_transfer_config=None, kv_events_config=None, lora_config=None,
        max_in_flight_tokens=2048,
    )  # fmt: skip
    for name, value in changes.items():
        *path, last = name.split("__")
        part = config
        for each in path:
            part = getattr(part, each)
        assert hasattr(part, last)
        setattr(part, last, value)
    return config


def refusal(config=None, workers=1, device="cpu"):
    from spark_llm.jenga import vllm_choice

    return vllm_choice.refusal(config or engine(), workers, device)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parallel_config__data_parallel_size": 2}, "spread over 2 workers"),
        ({"kv_transfer_config": SimpleNamespace()}, "a KV connector or the offloading"),
        ({"cache_config__kv_offloading_size": 4.0}, "a KV connector or the offloading"),
        ({"kv_events_config": SimpleNamespace(enable_kv_cache_events=True)}, "KV cache events"),
        ({"cache_config__prefix_match_unit": 16}, "prefix_match_unit"),
        ({"cache_config__num_gpu_blocks_override": 9}, "num_gpu_blocks_override"),
        ({"scheduler_config__disable_hybrid_kv_cache_manager": True}, "hybrid KV cache manager"),
        ({"lora_config": SimpleNamespace()}, "LoRA"),
        ({"speculative_config": SimpleNamespace(method="draft_model")}, "its draft model"),
    ],
)
def test_every_refusal(changes, reason):
    assert reason in refusal(engine(**changes))


def test_where_it_computes_and_by_how_many():
    assert refusal(device="cuda") == "on a cuda its runner counts all groups' blocks alike"
    assert "spread over 2 workers" in refusal(workers=2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kv_events_config": SimpleNamespace(enable_kv_cache_events=False)},
        {"speculative_config": SimpleNamespace(method="custom_class")},
        {"speculative_config": SimpleNamespace(method="ngram")},
    ],
)
def test_what_is_not_refused(changes):
    assert refusal(engine(**changes)) is None


def specs():
    """A windowed and a full layer, and one that keeps states."""
    import torch
    from vllm.v1 import kv_cache_interface as kv

    heads = {"block_size": 32, "num_kv_heads": 2, "head_size": 32, "dtype": torch.float32}
    return {
        "full": kv.FullAttentionSpec(**heads),
        "wide": kv.FullAttentionSpec(**heads | {"head_size": 128}),
        "window": kv.SlidingWindowSpec(**heads, sliding_window=128),
        "state": kv.MambaSpec(
            block_size=32, shapes=((64, 64),), dtypes=(torch.float32,), mamba_cache_mode="align"
        ),
    }


def layers(*named):
    from spark_llm.jenga.vllm_layout import layers_of

    known = specs()
    return layers_of(
        {str(number): known[each] if isinstance(each, str) else each for number, each in enumerate(named)}
    )


def misfits():
    """Layers and the reason why they cannot be laid out."""
    from vllm.v1 import kv_cache_interface as kv

    known = specs()
    full, state = known["full"], known["state"]
    chunked = kv.ChunkedLocalAttentionSpec(
        block_size=32, num_kv_heads=2, head_size=32, dtype=full.dtype, attention_chunk_size=64
    )
    return {
        "kind ChunkedLocalAttentionSpec": (full, chunked),
        "the mode all, not align": (full, replace(state, mamba_cache_mode="all")),
        "padded or quantized": (known["window"], replace(full, page_size_padded=2 * full.page_size_bytes)),
        "all its layers keep states": (state, replace(state, shapes=((64, 32),))),
        "blocks of different sizes": (full, replace(known["window"], block_size=64)),
        "several kinds of layers that keep tokens": (full, known["window"], state),
    }


@pytest.mark.parametrize("reason", [
    "kind ChunkedLocalAttentionSpec", "the mode all, not align", "padded or quantized",
    "all its layers keep states", "blocks of different sizes", "several kinds of layers that keep tokens",
])  # fmt: skip
def test_every_misfit(reason):
    assert reason in layers(*misfits()[reason]).misfit()


def choice(asked, *named, config=None, memory_bytes=64 << 20, why_not=None, lengths=None):
    from spark_llm.jenga.vllm_choice import choice_of
    from spark_llm.jenga.waste import Length

    return choice_of(
        asked, layers(*named), config or engine(), memory_bytes, why_not, lengths or [Length(512)]
    )


MIXED = ["window"] * 10 + ["wide"] * 2


def test_what_is_refused_is_said():
    assert choice("vllm", *MIXED).reason == "spark.llm.memory.allocator is vllm"
    assert choice("auto", "full", "full").reason == "all layers are alike: vLLM's pages waste nothing"
    found = choice("auto", *MIXED, why_not="it is refused")
    assert (found.allocator, found.reason) == ("grouped", "this engine cannot have Jenga: it is refused")
    with pytest.raises(ValueError, match=r"cannot have it: it is refused\. Set it to auto or vllm"):
        choice("jenga", *MIXED, why_not="it is refused")
    with pytest.raises(ValueError, match="all its layers keep states"):
        choice("jenga", *misfits()["all its layers keep states"])


def test_the_longest_request_must_fit():
    small = choice("auto", *MIXED, memory_bytes=1 << 20)
    assert "this engine cannot have Jenga: the longest request takes" in small.reason
    with pytest.raises(ValueError, match="large pages and"):
        choice("jenga", *MIXED, memory_bytes=1 << 20)


def test_another_scheduler_is_refused(monkeypatch):
    from vllm.v1.core.sched.scheduler import Scheduler

    from spark_llm.engine.vllm_scheduler import SparkScheduler
    from spark_llm.jenga import vllm_choice, vllm_plugin

    seen = []

    def choice_of(asked, layers, config, memory_bytes, why_not, lengths):
        seen.append(why_not)
        return vllm_choice.Choice("grouped", 0.0, "")

    monkeypatch.setattr(vllm_choice, "choice_of", choice_of)
    for scheduler in (Scheduler, SparkScheduler):
        config = engine()
        config.additional_config = {"spark_llm": {"memory": {"allocator": "auto"}}}
        config.scheduler_config.get_scheduler_cls = lambda scheduler=scheduler: scheduler
        vllm_plugin.laid_out(config, [{"a": specs()["full"]}], [1 << 20], [SimpleNamespace(num_blocks=3)])
    assert seen == ["another scheduler than ours hands out its pages", None]


def test_auto_decides_by_the_lengths_of_earlier_rows(tmp_path):
    from spark_llm.jenga.lengths import RowLengths
    from spark_llm.jenga.vllm_choice import lengths_of, usual_tokens
    from spark_llm.jenga.waste import Length

    config = engine()
    assert lengths_of(config, None) == lengths_of(config, str(tmp_path)) == [Length(512)]
    assert lengths_of(engine(model_config__max_model_len=300), None) == [Length(300)]
    earlier = RowLengths(tmp_path, "model")
    for tokens in [64] * 30 + [4000] * 10:
        earlier.add(tokens)
    earlier.save()
    known = lengths_of(config, str(tmp_path))
    assert known == [Length(64, requests=30), Length(1024, requests=10)]
    assert usual_tokens(known) == 304
    assert choice("auto", *MIXED, lengths=known).reason.endswith(
        ", for rows as long as 40 earlier ones, 304 tokens on average"
    )
    assert choice("auto", *MIXED).reason.endswith(", for rows of 512 tokens, as no earlier ones are known")
