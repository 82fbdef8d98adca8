"""Checks of Python, its packages, the settings and the disk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_llm.conf import parse_conf
from spark_llm.doctor.check import Check, failed, ok, refused
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spark_llm.doctor.host import Host

MINIMUM_PYTHON = ">=3.11"
MINIMUM_FREE_BYTES = 1 << 30


def check_python(host: Host, _settings: Mapping[str, str]) -> Check:
    """The interpreter, which the workers should be running as well."""
    version, path = host.python()
    if not satisfies(version, MINIMUM_PYTHON):
        found = f"{version} at {path}, needed is {MINIMUM_PYTHON}"
        return failed("python", found, "install Python 3.11 or newer")
    return ok("python", f"{version} at {path}")


def check_clash(host: Host, _settings: Mapping[str, str]) -> Check:
    """The package of 2023 whose import name is ours."""
    old = host.distribution("spark-llm")
    if old is not None:
        return failed(
            "package",
            f"the unrelated package spark-llm {old} is installed and has the same import name, spark_llm",
            "pip uninstall -y spark-llm && pip install --force-reinstall --no-deps pyspark-llm",
        )
    return ok("package", f"pyspark-llm {host.distribution('pyspark-llm')}")


def check_packages(host: Host, _settings: Mapping[str, str]) -> Iterator[Check]:
    """pyspark, pyarrow and pandas, in versions this package is made for."""
    for name in ("pyspark", "pyarrow", "pandas"):
        version, wanted = host.distribution(name), host.requirement(name)
        fix = f"pip install '{name}{wanted}'"
        if version is None:
            yield failed(name, "not installed", fix)
        elif not satisfies(version, wanted):
            yield failed(name, f"{version}, needed is {wanted}", fix)
        else:
            yield ok(name, version)


def check_conf(_host: Host, settings: Mapping[str, str]) -> Check:
    """Keys and values of spark.llm.*, which Spark itself does not check."""
    try:
        parsed = parse_conf(settings)
    except SparkLLMError as error:
        return refused("conf", error)
    count = len(parsed.settings)
    return ok("conf", f"{count} {'entry' if count == 1 else 'entries'} of spark.llm.* set")


def check_disk(host: Host, _settings: Mapping[str, str]) -> Check:
    """Room for shuffles, the engine's socket and its log."""
    folder, free = host.temporary_folder()
    text = f"{free / (1 << 30):.1f} GiB free in {folder}"
    if free < MINIMUM_FREE_BYTES:
        return failed("disk", f"{text}, needed is 1 GiB", "free some, or point TMPDIR elsewhere")
    return ok("disk", text)


def satisfies(version: str, wanted: str) -> bool:
    """Whether `version` lies in bounds such as `<4.4,>=4.1`; numbers only, letters after them are ignored."""
    have = _numbers(version)
    for operator, bound in re.findall(r"(>=|<|==)\s*([\d.]+)", wanted):
        limit = _numbers(bound)
        width = max(len(have), len(limit))
        left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (have, limit))
        if not {">=": left >= right, "<": left < right, "==": left == right}[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
