"""Orders rows and fields so that prompts share the longest prefixes. No Spark, no vLLM.

    pa.Table ──► names        unknown fields and policies are refused
             ──► first_look   nothing repeats: say so and stop
             ──► encode       cells -> ids, weights in prompt tokens (token_estimate, or the model's tokenizer)
             ──► reduce_fields  constant, unique, twin and pinned fields are decided here
             ──► portfolio    tree · greedy · fixed: each a plan, over the fields that are left
             ──► tail         what follows the last shared cell
             ──► score        prompt tokens left to compute: the fewest win
             ──► row_order    verified: a permutation of rows and of fields     ──► RowOrder

The kernels are compiled with numba at first use and kept on disk. Source: arXiv 2403.05821.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_llm.planner.solve import order_table
    from spark_llm.planner.row_order import RowOrder

__all__ = ["RowOrder", "order_table"]


def __getattr__(name: str) -> Any:
    # numba is imported with the kernels, not by whoever only wants to know the names of the policies
    if name == "order_table":
        from spark_llm.planner.solve import order_table

        return order_table
    if name == "RowOrder":
        from spark_llm.planner.row_order import RowOrder

        return RowOrder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
