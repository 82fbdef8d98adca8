"""Orders rows and fields so that prompts share the longest prefixes. No Spark, no vLLM.

    pa.Table ─► names          unknown fields and policies are refused
             ─► first_look     nothing repeats: say so and stop
             ─► encode         cells to ids, ids to prompt tokens (token_estimate, or the caller's count)
             ─► reduce_fields  constant, unique, twin and pinned fields are decided here
             ─► portfolio      methods: tree, greedy, fixed; then regroup, reinsert: each a plan
             ─► tail, score    what follows the last shared cell; prompt tokens left to compute
             ─► siblings       the order of what is equally good
             ─► row_order      verified: a permutation of rows, and of each row's fields ─► RowOrder

The kernels are compiled with numba at first use and kept on disk. Source: arXiv 2403.05821.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_llm.planner.row_order import RowOrder
    from spark_llm.planner.solve import order_table
    from spark_llm.planner.stream import order_stream

__all__ = ["RowOrder", "order_stream", "order_table"]


_HOME = {"RowOrder": "row_order", "order_stream": "stream", "order_table": "solve"}


def __getattr__(name: str) -> Any:
    # numba comes with the kernels, not with whoever only wants to know the names of the policies
    if name in _HOME:
        return getattr(import_module(f"spark_llm.planner.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
