from __future__ import annotations

import json

import pytest

from spark_llm.conf import parse_conf
from spark_llm.costmodel.step_time import StepTime
from spark_llm.engine.machine import has_bfloat16
from spark_llm.engine.vllm_args import Machine, launch_of
from spark_llm.errors import SparkLLMError

CPU = Machine("cpu", 8)
GPU = Machine("gpu", 32, ("some_platform",))


def launch(machine=CPU, environ=None, model="/models/m", **conf):
    settings = {f"spark.llm.engine.{key}": value for key, value in conf.items()}
    return launch_of(parse_conf(settings), model, "m", "/run/s", machine, environ or {})


def test_command_on_cpu():
    assert " ".join(launch().arguments) == (
        "--model /models/m --served-model-name m --uds /run/s --dtype auto --kv-cache-memory-bytes 1073741824 "
        "--block-size 32 --enable-prefix-caching --enable-prompt-tokens-details "
        '--structured-outputs-config {"backend": "xgrammar"} '
        "--scheduling-policy priority --load-format safetensors --no-use-tqdm-on-load --disable-uvicorn-access-log --enforce-eager "
        "--max-num-seqs 256 --max-num-batched-tokens 4096 "
        "--scheduler-cls spark_llm.engine.vllm_scheduler.SparkScheduler "
        '--additional-config {"spark_llm": {"memory": {"allocator": "auto", "file": "/run/memory.json", "dir": "/run", "junctions": true, "uses": true}}}'
    )


def test_command_on_gpu():
    assert " ".join(launch(GPU).arguments) == (
        "--model /models/m --served-model-name m --uds /run/s --dtype auto "
        "--enable-prefix-caching --enable-prompt-tokens-details "
        '--structured-outputs-config {"backend": "xgrammar"} '
        "--scheduling-policy priority --load-format safetensors --no-use-tqdm-on-load --disable-uvicorn-access-log --gpu-memory-utilization 0.9"
    )


def test_conf_entries_become_arguments():
    words = " ".join(
        launch(maxModelLen="512", kvCacheMemory="64m", blockSize="16", dtype="float32").arguments
    )
    assert "--max-model-len 512 --dtype float32 --kv-cache-memory-bytes 67108864 --block-size 16" in words


def test_args_add_replace_and_remove():
    more = {
        "max_num_seqs": 64,
        "enforce-eager": False,
        "enable-expert-parallel": True,
        "block-size": None,
        "reasoning-parser": "qwen3",
        "lora-modules": ["a=/x", "b=/y"],
        "speculative-config": {"method": "ngram"},
    }
    words = " ".join(launch(args=json.dumps(more)).arguments)
    assert "--max-num-seqs 64" in words
    assert "--max-num-seqs 256" not in words
    assert "--enable-expert-parallel --reasoning-parser qwen3 --lora-modules a=/x b=/y" in words
    assert '--speculative-config {"method": "ngram"}' in words
    assert "--no-enforce-eager" in words
    assert "--block-size" not in words


@pytest.mark.parametrize("key", ["uds", "host", "port", "model", "served_model_name"])
def test_what_others_decide_is_refused(key):
    with pytest.raises(SparkLLMError) as caught:
        launch(args=json.dumps({key: "x"}))
    assert caught.value.condition == "LLM_INVALID_CONF"
    assert caught.value.params["key"] == "spark.llm.engine.args"


@pytest.mark.reliability(
    "trust_remote_code in spark.llm.engine.args", "LLM_INVALID_CONF unless it is allowed by its own entry"
)
def test_remote_code_needs_an_entry_of_its_own():
    """trust_remote_code without the security entry -> refused; with it -> passed on."""
    args = json.dumps({"trust_remote_code": True})
    with pytest.raises(SparkLLMError, match="spark.llm.security.trustRemoteCode.enabled"):
        launch(args=args)
    conf = {"spark.llm.engine.args": args, "spark.llm.security.trustRemoteCode.enabled": "true"}
    words = launch_of(parse_conf(conf), "/models/m", "m", "/run/s", CPU, {}).arguments
    assert "--trust-remote-code" in words
    assert "--trust-remote-code" not in launch(args=json.dumps({"trust-remote-code": False})).arguments


def test_half_of_the_memory():
    def half(machine, **entries):
        settings = {f"spark.llm.engine.{key}": value for key, value in entries.items()}
        return " ".join(
            launch_of(parse_conf(settings), "/m", "m", "/s", machine, {}, memory_share=0.5).arguments
        )

    assert "--kv-cache-memory-bytes 536870912" in half(CPU)
    assert "--kv-cache-memory-bytes 33554432" in half(CPU, kvCacheMemory="64m")
    assert "--gpu-memory-utilization 0.45" in half(GPU)


def test_environment_on_cpu():
    assert launch().environment == {
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "7",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_PLUGINS": "spark_llm_batch,spark_llm_memory",
    }


def test_environment_on_gpu_with_a_hub_name():
    assert launch(GPU, model="org/m").environment == {
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_PLUGINS": "some_platform,spark_llm_batch,spark_llm_memory",
    }


def test_batch_invariant_mode_is_vllms_own_and_needs_a_gpu():
    asked = {"batchInvariant.enabled": "true"}
    assert launch(GPU, **asked).environment["VLLM_BATCH_INVARIANT"] == "1"
    with pytest.raises(SparkLLMError, match="no batch-invariant mode on a CPU"):
        launch(CPU, **asked)


def test_the_users_environment_wins():
    user = {"OMP_NUM_THREADS": "2", "VLLM_PLUGINS": "mine,spark_llm_batch", "HF_HUB_OFFLINE": "0"}
    chosen = launch(environ=user).environment
    assert "OMP_NUM_THREADS" not in chosen
    assert "HF_HUB_OFFLINE" not in chosen
    assert chosen["VLLM_PLUGINS"] == "mine,spark_llm_batch,spark_llm_memory"


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (64, "63")])
def test_one_core_is_left_for_the_server(cores, threads):
    assert launch(Machine("cpu", cores)).environment["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    ("machine", "conf", "dtype"),
    [
        (Machine("cpu", 8, bfloat16=False), {}, "float32"),
        (Machine("cpu", 8, bfloat16=False), {"dtype": "bfloat16"}, "bfloat16"),
        (Machine("cpu", 8, bfloat16=True), {}, "auto"),
    ],
)
def test_auto_is_float32_where_bfloat16_is_emulated(machine, conf, dtype):
    arguments = launch(machine, **conf).arguments
    assert arguments[arguments.index("--dtype") + 1] == dtype


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx avx2\nbugs\t: amx_bf16\n", False),
        ("flags\t\t: fpu avx512_bf16 amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16 dgh\n", True),
        ("Features\t: fp asimd\n", False),
        ("hart : 0\n", True),
    ],
)
def test_bfloat16_is_read_from_the_flags(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16(tmp_path / "cpuinfo") is expected


def test_a_machine_that_does_not_say_keeps_vllms_choice(tmp_path):
    assert has_bfloat16(tmp_path / "absent")


def speculative(machine=CPU, **conf):
    settings = {"spark.llm.speculative.enabled": "true"}
    settings |= {f"spark.llm.speculative.{key}": value for key, value in conf.items()}
    words = launch_of(parse_conf(settings), "/models/m", "m", "/run/e/s", machine, {}).arguments
    return {
        key: json.loads(words[at + 1]) if words[at + 1].startswith("{") else words[at + 1]
        for key in ("--scheduler-cls", "--speculative-config", "--additional-config")
        for at in (words.index(key),)
    }


def test_speculation_is_off_unless_asked_for():
    assert "--speculative-config" not in launch().arguments
    assert "speculative" not in " ".join(launch().arguments)


def test_speculation_with_drafts_of_our_own():
    assert speculative(length="5", policy="goodput") == {
        "--scheduler-cls": "spark_llm.engine.vllm_scheduler.SparkScheduler",
        "--speculative-config": {
            "method": "custom_class",
            "model": "spark_llm.smartspec.vllm_plugin.LookUpProposer",
            "num_speculative_tokens": 5,
        },
        "--additional-config": {
            "spark_llm": {
                "speculative": {"policy": "goodput", "vitals": "/run/e/vitals.json"},
                "memory": {
                    "allocator": "auto",
                    "file": "/run/e/memory.json",
                    "dir": "/run/e",
                    "junctions": True,
                    "uses": True,
                },
            }
        },
    }


@pytest.mark.parametrize(("machine", "scheduler"), [(CPU, "SparkScheduler"), (GPU, "SparkAsyncScheduler")])
def test_speculation_with_a_draft_model(machine, scheduler):
    found = speculative(machine, model="/models/small")
    assert found["--scheduler-cls"].endswith(f".{scheduler}")
    assert found["--speculative-config"] == {
        "method": "draft_model", "model": "/models/small", "num_speculative_tokens": 7,
    }  # fmt: skip


def test_speculation_of_ours_and_of_the_users_own():
    conf = {"spark.llm.speculative.enabled": "true"}
    conf["spark.llm.engine.args"] = '{"speculative_config": {"method": "ngram"}}'
    with pytest.raises(SparkLLMError, match=r"spark\.llm\.speculative\.enabled=true decides it"):
        launch_of(parse_conf(conf), "/models/m", "m", "/run/s", CPU, {})


def test_a_measured_step_time_is_what_the_policy_starts_from(tmp_path):
    from spark_llm.smartspec.acceptance_by_call import AcceptanceByCall
    from spark_llm.smartspec.choose import LOOK_UP, policy_of

    path = tmp_path / "step-time.json"
    measured = {"kv_s": 1e-8, "token_s": 2e-5, "sequence_s": 0.0, "base_s": 3e-3, "prefill_token_s": 4e-5}
    path.write_text(json.dumps({"model": "m", "step_time": measured}))
    conf = {"spark.llm.speculative.enabled": "true", "spark.llm.costmodel.path": str(path)}
    words = launch_of(parse_conf(conf), "/models/m", "m", "/run/e/s", CPU, {}).arguments
    settings = json.loads(words[words.index("--additional-config") + 1])["spark_llm"]["speculative"]
    assert settings["step_time"] == measured
    assert policy_of(settings, 5, AcceptanceByCall(5), LOOK_UP)._time == StepTime(**measured)
    path.write_text("{}")
    with pytest.raises(SparkLLMError, match=r"spark\.llm\.costmodel\.path"):
        launch_of(parse_conf(conf), "/models/m", "m", "/run/e/s", CPU, {})


NO_HINTS = {"spark.llm.memory.junctions.enabled": "false", "spark.llm.memory.plannedUses.enabled": "false"}


def allocator(value, machine=CPU, model="/models/m", **more):
    settings = {"spark.llm.memory.allocator": value} | more
    return " ".join(launch_of(parse_conf(settings), model, "m", "/run/s", machine, {}).arguments)


@pytest.mark.parametrize(("value", "machine"), [("vllm", CPU), ("vllm", GPU), ("auto", GPU)])
def test_an_engine_that_has_no_choice_is_started_as_without_us(value, machine):
    hints = NO_HINTS if machine == CPU else {}
    assert "scheduler-cls" not in allocator(value, machine, **hints)
    assert "additional-config" not in allocator(value, machine, **hints)


def test_a_model_whose_layers_are_alike_leaves_nothing_to_choose(tmp_path):
    config = {"model_type": "qwen3", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "additional-config" not in allocator("auto", model=str(tmp_path), **NO_HINTS)
    assert '"uses": true' in allocator("auto", model=str(tmp_path))
    assert '"allocator": "jenga"' in allocator("jenga", model=str(tmp_path))
    config |= {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert '"allocator": "auto"' in allocator("auto", model=str(tmp_path))


def test_jenga_is_refused_where_it_cannot_be():
    with pytest.raises(SparkLLMError, match="auto or vllm: vLLM's GPU runner"):
        allocator("jenga", GPU)
    taken = {"spark.llm.engine.args": '{"scheduler_cls": "mine.Scheduler"}'}
    with pytest.raises(SparkLLMError, match="spark.llm.memory.allocator=jenga decides it"):
        allocator("jenga", **taken)
    assert "mine.Scheduler" in allocator("auto", **taken)


def test_lengths_of_rows_are_kept_where_the_user_says():
    assert '"dir": "/var/lengths"' in allocator("auto", **{"spark.llm.memory.dir": "/var/lengths"})
    assert '"dir"' not in allocator("vllm", **{"spark.llm.memory.junctions.enabled": "true"})


def test_junctions_are_planned_by_our_scheduler_with_either_allocator():
    for value in ("auto", "vllm"):
        words = allocator(value)
        assert f'"allocator": "{value}"' in words
        assert '"junctions": true, "uses": true' in words
    assert "junctions" not in allocator("auto", **NO_HINTS)
    assert "uses" not in allocator("auto", **NO_HINTS)


def swap(machine=CPU, **more):
    settings = {"spark.llm.swap.enabled": "true"} | {f"spark.llm.swap.{k}": v for k, v in more.items()}
    words = launch_of(parse_conf(settings), "/models/m", "m", "/run/e/s", machine, {}).arguments
    return words, json.loads(words[words.index("--kv-transfer-config") + 1])


def test_swap_gives_vllms_offloading_our_tier(tmp_path):
    words, transfer = swap(hostMemory="2g", path=str(tmp_path))
    assert transfer["kv_load_failure_policy"] == "recompute"
    extra = transfer["kv_connector_extra_config"]
    assert (extra["cpu_bytes_to_use"], extra["path"]) == (2 << 30, str(tmp_path))
    ours = json.loads(words[words.index("--additional-config") + 1])["spark_llm"]
    assert ours["swap"].pop("reason").endswith("no step time was measured (spark.llm.costmodel.path)")
    assert ours["swap"] == {"mode": "blocks", "host_bytes": 2 << 30, "file": "/run/e/swap.json"}
    assert words[words.index("--scheduler-cls") + 1].endswith("SparkScheduler")
    assert "kv-transfer-config" not in allocator("auto")


def test_swap_of_layers_gives_vllm_our_worker_and_connector():
    words, transfer = swap(mode="layers", hostMemory="2g")
    assert transfer["kv_connector"] == "LayerSwapConnector"
    assert words[words.index("--worker-cls") + 1] == "spark_llm.pie.vllm_layers_cpu.LayerSwapWorker"
    ours = json.loads(words[words.index("--additional-config") + 1])["spark_llm"]["swap"]
    assert ours == {
        "mode": "layers", "expansion": 2.0, "host_bytes": 2 << 30, "reason": "as the settings ask",
        "file": "/run/e/swap.json", "vitals": "/run/e/vitals.json",
    }  # fmt: skip
    words, _ = swap(GPU, mode="layers")
    assert words[words.index("--worker-cls") + 1] == "spark_llm.pie.vllm_layers_gpu.LayerSwapWorker"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("swap.path", "/tmp"),
        ("memory.allocator", "jenga"),
        ("speculative.model", "/models/draft"),
    ],
)
def test_swap_of_layers_is_refused_beside_what_it_does_not_go_with(key, value):
    settings = {"spark.llm.swap.enabled": "true", "spark.llm.swap.mode": "layers"}
    settings |= {"spark.llm.speculative.enabled": "true", f"spark.llm.{key}": value}
    with pytest.raises(SparkLLMError, match=rf"spark\.llm\.{key}") as refused:
        launch_of(parse_conf(settings), "/models/m", "m", "/run/e/s", CPU, {})
    assert "swap.mode=layers" in str(refused.value)


def test_swap_goes_with_speculation_and_the_allocator():
    settings = {"spark.llm.swap.enabled": "true", "spark.llm.speculative.enabled": "true"}
    words = launch_of(parse_conf(settings), "/models/m", "m", "/run/e/s", CPU, {}).arguments
    ours = json.loads(words[words.index("--additional-config") + 1])["spark_llm"]
    assert set(ours) == {"speculative", "memory", "swap"}


def test_swap_is_refused_where_it_cannot_be(tmp_path):
    with pytest.raises(SparkLLMError, match=r"spark\.llm\.swap\.path"):
        swap(GPU, path=str(tmp_path))
    taken = {"spark.llm.swap.enabled": "true", "spark.llm.engine.args": '{"kv_offloading_size": 2}'}
    with pytest.raises(SparkLLMError, match="spark.llm.swap.enabled=true decides it"):
        allocator("auto", **taken)


def test_auto_swaps_where_bringing_a_prompt_back_is_cheaper_than_computing_it(tmp_path):
    model = {"model_type": "qwen3", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(model | {"torch_dtype": "float32"}))
    profile = tmp_path / "step-time.json"

    def started(prefill_token_s, **more):
        time = {"kv_s": 1e-8, "token_s": 1e-5, "sequence_s": 0.0, "base_s": 1e-3}
        profile.write_text(json.dumps({"step_time": time | {"prefill_token_s": prefill_token_s}}))
        settings = {"spark.llm.swap.enabled": "true", "spark.llm.costmodel.path": str(profile)} | more
        words = launch_of(parse_conf(settings), str(tmp_path), "m", "/run/e/s", CPU, {}).arguments
        swap = json.loads(words[words.index("--additional-config") + 1])["spark_llm"]["swap"]
        return swap["mode"], swap["reason"], "--kv-transfer-config" in words

    # 2 layers x 2 x 2 heads x 32 x 4 bytes = 1,024 bytes a token, at 1 GB/s.
    brought = "prefixes that return are brought back (1.0 µs a token to bring, 2.0 to compute)"
    assert started(2e-6) == ("blocks", brought, True)
    mode, reason, connector = started(5e-7)
    assert (mode, connector) == ("off", False)
    assert "computed again (1.0 µs a token to bring, 0.5 to compute)" in reason
    assert started(5e-7, **{"spark.llm.swap.mode": "blocks"})[::2] == ("blocks", True)
