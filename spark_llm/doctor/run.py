"""Runs the checks in the order in which one depends on the other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spark_llm.doctor.check import Check, failed
from spark_llm.doctor.engine import check_engine, check_model, check_vllm
from spark_llm.doctor.jvm import check_functions, check_jar, check_java
from spark_llm.doctor.packages import check_clash, check_conf, check_disk, check_packages, check_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spark_llm.doctor.host import Host

    Probe = Callable[[Host, Mapping[str, str]], Check | Iterable[Check]]


def examine(host: Host, settings: Mapping[str, str], *, start_engine: bool = False) -> Iterator[Check]:
    """Yields one check after the other, each as soon as it is known.

    Args:
        host: The machine.
        settings: What a query would run with.
        start_engine: Really start the engine of kind=vllm.
    """
    probes: list[tuple[str, Probe]] = [
        ("python", check_python),
        ("package", check_clash),
        ("packages", check_packages),
        ("java", check_java),
        ("jar", check_jar),
        ("conf", check_conf),
        ("functions", check_functions),
        ("vllm", check_vllm),
        ("model", check_model),
        ("engine", partial(check_engine, start=start_engine)),
        ("disk", check_disk),
    ]
    for subject, probe in probes:
        try:
            found = probe(host, settings)
            yield from [found] if isinstance(found, Check) else list(found)
        except Exception as error:  # noqa: BLE001  a doctor that falls ill helps nobody: the next checks still run
            yield failed(
                subject, f"the check itself failed, {type(error).__name__}: {error}", "please report this"
            )


def summary(checks: Iterable[Check]) -> str:
    """The last line: how many of each."""
    statuses: list[str] = [check.status for check in checks]
    return ", ".join(
        f"{statuses.count(status)} {word}"
        for status, word in (("ok", "ok"), ("FAIL", "failed"), ("skip", "skipped"))
    )
