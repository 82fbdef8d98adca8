"""Compiles the kernels before the first rows come: `python -m spark_llm.planner.warm`.

An executor's engine takes longer to start than the kernels to compile, so its supervisor runs this beside
it. One process of a machine compiles; others that need the kernels meanwhile wait for it and load what it
stored.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys

_DONE = "compiled"


def ensure_compiled() -> None:
    """Returns when the kernels of the usual policies are on disk, by this process or another."""
    from spark_llm.planner.kernel import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{_DONE}-{sys.version_info[0]}.{sys.version_info[1]}"
    if done.exists():
        return
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _compile()
            done.touch()


def _compile() -> None:
    import numpy as np
    import pyarrow as pa

    from spark_llm.planner import order_table

    draw = np.random.default_rng(0)
    columns = {name: [f"{name} {v}" for v in draw.integers(0, 9, 64)] for name in ("a", "b", "c", "d")}
    table = pa.table({**columns, "twin": columns["a"], "wide": pa.array(columns["b"], pa.large_string())})
    for sets in ((), (("a", "b"),)):
        order_table(table, sets=sets)


def start_compiling(environment: dict[str, str]) -> subprocess.Popen[bytes] | None:
    """Starts this module as a process of low priority; None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "spark_llm.planner.warm"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    """Compiles what is not compiled yet."""
    os.nice(10)
    ensure_compiled()
    return 0


if __name__ == "__main__":
    sys.exit(main())
