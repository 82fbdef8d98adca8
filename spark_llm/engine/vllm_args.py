"""From spark.llm.engine.* to the command line and environment of vLLM's API server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spark_llm.costmodel.store import KEY as STEP_TIME_KEY
from spark_llm.costmodel.store import read_step_time
from spark_llm.engine.family import family_for
from spark_llm.engine.memory_args import ALLOCATOR, memory_of
from spark_llm.engine.swap_args import ENABLED as SWAP
from spark_llm.engine.swap_args import TAKEN as TAKEN_BY_SWAP
from spark_llm.engine.swap_args import swap_of
from spark_llm.engine.swap_layers_args import VITALS_FILE
from spark_llm.errors import invalid_conf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.conf import Conf

SERVER_MODULE = "vllm.entrypoints.openai.api_server"
PLUGIN_NAME = "spark_llm_batch"
MEMORY_PLUGIN_NAME = "spark_llm_memory"
SCHEDULER = "spark_llm.engine.vllm_scheduler.SparkScheduler"
ASYNC_SCHEDULER = "spark_llm.engine.vllm_scheduler.SparkAsyncScheduler"
LOOK_UP_PROPOSER = "spark_llm.smartspec.vllm_plugin.LookUpProposer"
CPU_BLOCK_TOKENS = 32
CPU_KV_CACHE_BYTES = 1 << 30
CPU_MAX_NUM_SEQS = 256
CPU_MAX_NUM_BATCHED_TOKENS = 4096
_KEY = "spark.llm.engine.args"
_BATCH_INVARIANT = "spark.llm.engine.batchInvariant.enabled"
_SPECULATIVE = "spark.llm.speculative.enabled"
_TRUST = "spark.llm.security.trustRemoteCode.enabled"
# What the supervisor decides itself, with the entry that decides it.
_TAKEN = {
    "uds": "it is chosen by the plug-in",
    "host": "the engine listens on a Unix socket only",
    "port": "the engine listens on a Unix socket only",
    "model": "set spark.llm.model",
    "served-model-name": "set spark.llm.model",
}
_TAKEN_BY_SPECULATION = dict.fromkeys(
    ("scheduler-cls", "speculative-config", "additional-config"), f"{_SPECULATIVE}=true decides it"
)
_TAKEN_BY_JENGA = dict.fromkeys(("scheduler-cls", "additional-config"), f"{ALLOCATOR}=jenga decides it")

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the command depends on besides conf.

    Attributes:
        device: where vLLM computes.
        cores: CPU cores this process may use.
        plugins: vLLM platform plug-ins installed beside ours, which VLLM_PLUGINS must not switch off.
        bfloat16: whether it computes bfloat16 in hardware.
    """

    device: Device
    cores: int
    plugins: tuple[str, ...] = ()
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Launch:
    """Arguments of the API server (without interpreter and module) and what to set in its environment."""

    arguments: tuple[str, ...]
    environment: dict[str, str]


def launch_of(
    conf: Conf,
    model: str,
    served: str,
    socket: str,
    machine: Machine,
    environ: Mapping[str, str],
    *,
    memory_share: float = 1.0,
) -> Launch:
    """The command of the engine.

    Args:
        conf: the checked settings.
        model: hub name, or absolute path, of the model.
        served: the name requests know it by.
        socket: path of the Unix socket to listen on.
        machine: where it will run.
        environ: the environment it will inherit; what the user set there wins over our choices.
        memory_share: of the KV cache, or of the GPU's memory where it has no size of its own; below 1 after
            an engine did not fit.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when spark.llm.engine.args names what other entries decide, or when
            the machine cannot do what is asked.
    """
    options: dict[str, Any] = {
        "model": model,
        "served-model-name": served,
        "uds": socket,
        "max-model-len": conf.get("spark.llm.engine.maxModelLen"),
        "dtype": _dtype(conf, machine),
        "kv-cache-memory-bytes": conf.get("spark.llm.engine.kvCacheMemory"),
        "block-size": conf.get("spark.llm.engine.blockSize"),
        "enable-prefix-caching": True,
        "enable-prompt-tokens-details": True,
        # The plug-in writes the grammars of JSON answers in this backend's dialect; see json_grammar.
        "structured-outputs-config": {"backend": "xgrammar"},
        # Rows that share a prefix are given one priority, so that an executor's tasks do not tear them apart.
        "scheduling-policy": "priority",
        # Weights that are data only: other formats can run code as they are read.
        "load-format": "safetensors",
        # A progress bar on a full disk is an exception, and ends the engine; a lost line of the log does not.
        "use-tqdm-on-load": False,
        "disable-uvicorn-access-log": True,
    }
    if machine.device == "cpu":
        options["block-size"] = options["block-size"] or CPU_BLOCK_TOKENS
        # An explicit size spares the warm-up run that would measure what is free.
        options["kv-cache-memory-bytes"] = options["kv-cache-memory-bytes"] or CPU_KV_CACHE_BYTES
        options["enforce-eager"] = True
        # vLLM's own choice for offline batches; its server's, half of that, is made for chats.
        options["max-num-seqs"] = CPU_MAX_NUM_SEQS
        options["max-num-batched-tokens"] = CPU_MAX_NUM_BATCHED_TOKENS
    else:
        options["gpu-memory-utilization"] = conf.get("spark.llm.engine.gpuMemoryFraction")
    if (family := family_for(conf, model)) is not None and family.parser is not None:
        options["reasoning-parser"] = family.parser
        if family.parser == "deepseek_v3":
            # Budgets need the marks, which this parser does not tell before it knows the request.
            marks = {"reasoning_start_str": family.start, "reasoning_end_str": family.end}
            options["reasoning-config"] = marks
    options.update(_techniques(conf, model, socket, machine))
    options.update(_extra(conf))
    for key in ("kv-cache-memory-bytes", "gpu-memory-utilization") if memory_share < 1 else ():
        if options.get(key) is not None:
            options[key] = type(options[key])(options[key] * memory_share)
    environment = _environment(model, machine, environ)
    if conf.flag(_BATCH_INVARIANT):
        if machine.device == "cpu":
            raise invalid_conf(
                _BATCH_INVARIANT, "true", "false, as vLLM has no batch-invariant mode on a CPU"
            )
        environment["VLLM_BATCH_INVARIANT"] = "1"
    return Launch(_arguments(options), environment)


def _dtype(conf: Conf, machine: Machine) -> str:
    """The user's choice; `auto`, the model's own format, is no bargain where the CPU has to emulate it."""
    chosen = conf.text("spark.llm.engine.dtype")
    return "float32" if chosen == "auto" and not machine.bfloat16 else chosen


def _techniques(conf: Conf, model: str, socket: str, machine: Machine) -> dict[str, Any]:
    """Our scheduler, and our part of vLLM's additional configuration; nothing where nothing is on."""
    options = _speculative(conf, socket, machine)
    if (memory := memory_of(conf, model, socket, machine.device)) is not None:
        options.setdefault("scheduler-cls", SCHEDULER)
        ours = options.setdefault("additional-config", {"spark_llm": {}})["spark_llm"]
        ours["memory"] = memory
    swap = swap_of(conf, model, socket, machine.device)
    for key, value in swap.items():
        if key == "additional-config":
            options.setdefault(key, {"spark_llm": {}})["spark_llm"] |= value["spark_llm"]
        else:
            options[key] = value
    if swap:
        options.setdefault("scheduler-cls", SCHEDULER)
    return options


def _speculative(conf: Conf, socket: str, machine: Machine) -> dict[str, Any]:
    """Our scheduler, who drafts, and what a step costs where it was measured; nothing where it is off."""
    if not conf.flag(_SPECULATIVE):
        return {}
    draft_model = conf.get("spark.llm.speculative.model")
    ours: dict[str, Any] = {
        "policy": conf.text("spark.llm.speculative.policy"),
        "vitals": str(Path(socket).with_name(VITALS_FILE)),
    }
    if (folder := conf.get("spark.llm.speculative.dir")) is not None:
        ours["dir"] = folder
    if (profile := conf.get(STEP_TIME_KEY)) is not None:
        ours["step_time"] = asdict(read_step_time(Path(profile).expanduser()))
    # vLLM schedules ahead only where drafts stay on the GPU.
    ahead = draft_model is not None and machine.device == "gpu"
    return {
        "scheduler-cls": ASYNC_SCHEDULER if ahead else SCHEDULER,
        "speculative-config": {
            "method": "draft_model" if draft_model is not None else "custom_class",
            "model": draft_model or LOOK_UP_PROPOSER,
            "num_speculative_tokens": conf.integer("spark.llm.speculative.length"),
        },
        "additional-config": {"spark_llm": {"speculative": ours}},
    }


def _extra(conf: Conf) -> dict[str, Any]:
    extra = {key.replace("_", "-"): value for key, value in (conf.get(_KEY) or {}).items()}
    taken = _TAKEN | (_TAKEN_BY_SPECULATION if conf.flag(_SPECULATIVE) else {})
    if conf.text(ALLOCATOR) == "jenga":
        taken = _TAKEN_BY_JENGA | taken
    if conf.flag(SWAP):
        taken = TAKEN_BY_SWAP | taken
    for key in extra:
        if key in taken:
            raise invalid_conf(_KEY, key, f"other arguments than this one, for {taken[key]}")
    if extra.get("trust-remote-code") and not conf.flag(_TRUST):
        raise invalid_conf(
            _KEY, "trust-remote-code", f"{_TRUST}=true beside it, as it runs code that comes with the model"
        )
    return extra


def _arguments(options: Mapping[str, Any]) -> tuple[str, ...]:
    """None leaves an option out, booleans become --x and --no-x, lists repeat values, objects are JSON."""
    words: list[str] = []
    for key, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        elif isinstance(value, list):
            words += [f"--{key}", *map(_word, value)]
        else:
            words += [f"--{key}", _word(value)]
    return tuple(words)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _environment(model: str, machine: Machine, environ: Mapping[str, str]) -> dict[str, str]:
    wanted = {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if Path(model).is_absolute():
        wanted |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if machine.device == "cpu":
        wanted |= {
            # The worker then lives in the engine's own process: one process and one import of torch less.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(omp_threads(machine.cores)),
            # The cores are shared with Spark's tasks: threads that spin while they wait starve each other.
            "OMP_WAIT_POLICY": "PASSIVE",
            # The engine computes eagerly; the one function that vLLM compiles all the same, for
            # log-probabilities, would hold up the first rows that want them for a minute.
            "TORCH_COMPILE_DISABLE": "1",
        }
    chosen = {key: value for key, value in wanted.items() if key not in environ}
    chosen["VLLM_PLUGINS"] = _plugins(machine, environ)
    return chosen


def omp_threads(cores: int) -> int:
    """Threads of the engine's matrix code: all cores but the one that the API server's Python needs."""
    return max(1, cores - 1)


def _plugins(machine: Machine, environ: Mapping[str, str]) -> str:
    """VLLM_PLUGINS with ours in it: added to what the user allows, else to the platform plug-ins alone."""
    allowed = environ["VLLM_PLUGINS"].split(",") if "VLLM_PLUGINS" in environ else list(machine.plugins)
    return ",".join(dict.fromkeys([*filter(None, allowed), PLUGIN_NAME, MEMORY_PLUGIN_NAME]))
