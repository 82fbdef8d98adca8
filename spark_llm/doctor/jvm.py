"""Checks of the JVM side: Java, the jar, and the functions in a real session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.catalyst.java import INSTALL_HINT, JavaNotFoundError
from spark_llm.catalyst.spark import minor_of
from spark_llm.doctor.check import Check, failed, first_line, last_line, last_object, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.doctor.host import Host

SESSION_TIMEOUT_S = 180


def check_java(host: Host, _settings: Mapping[str, str]) -> Check:
    """The runtime that Spark starts."""
    try:
        java = host.java()
    except JavaNotFoundError as error:
        return failed("java", str(error).partition(" To go on,")[0].rstrip("."), INSTALL_HINT)
    return ok("java", f"{java.version} of {java.source}, {java.home}")


def check_jar(host: Host, _settings: Mapping[str, str]) -> Check:
    """The jar, and that it is for the Spark that is installed."""
    try:
        jar, manifest = host.jar()
    except RuntimeError as error:
        return failed("jar", first_line(str(error)), "`spark-llm jar` shows all of it")
    built_for, installed = manifest.get("Spark-Version", "?"), host.distribution("pyspark") or "?"
    if minor_of(built_for) != minor_of(installed):
        return failed("jar", f"{jar} is for Spark {built_for}, installed is {installed}", f"remove {jar}")
    return ok("jar", f"for Spark {built_for}, {jar}")


def check_functions(host: Host, _settings: Mapping[str, str]) -> Check:
    """A local session with the jar and the fake engine: is `llm` there, and does a query come back."""
    try:
        jar, _ = host.jar()
        host.java()
    except RuntimeError:
        return skipped("functions", "needs Java and the jar")
    command = ["-m", "spark_llm.doctor.session", str(jar)]
    fix = f"`python {' '.join(command)}` shows all of it"
    status, output, errors = host.run(command, timeout_s=SESSION_TIMEOUT_S)
    found = last_object(output)
    if found is None:
        text = f"a local Spark session did not start (exit status {status}): {last_line(errors)}"
        return failed("functions", text, fix)
    if "error" in found:
        return failed("functions", str(found["error"]), fix)
    return ok("functions", f"{found['function']} is registered, and a query through the fake engine answered")
