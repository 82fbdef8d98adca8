"""Build hook: compiles the jar for the installed Spark and puts it into the wheel."""

from __future__ import annotations

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class JarBuildHook(BuildHookInterface[Any]):
    """Adds `spark_llm/jars/<jar>` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the jar.

        Args:
            version: `editable` for editable installs, which build their jar on first use instead.
            build_data: Gets the jar under `force_include`.
        """
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from spark_llm.catalyst.build import ensure_jar
        from spark_llm.catalyst.spark import SparkNotFoundError

        try:
            jar = ensure_jar()
        except SparkNotFoundError:
            # An isolated build has no pyspark; to ask for it would fetch half a gigabyte for a small wheel.
            self.app.display_warning(
                "pyspark is not there at build time: the wheel has no jar and compiles it on first use. "
                "Build with --no-build-isolation in an environment with pyspark to have it inside."
            )
            return
        build_data["force_include"][str(jar)] = f"spark_llm/jars/{jar.name}"
