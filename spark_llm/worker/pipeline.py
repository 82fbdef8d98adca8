"""The way of a task's batches: read ahead, plan, ask, and give back in order.

    read  ─► window: 1 batch, then 2, 4, …  up to spark.llm.planner.windowRows
                │ planned as a whole, sent in the order of the plan
                ▼
             under way                       at most spark.llm.maxInFlightRows rows
                │ answers fill the rows of any batch
    yield ◄─ batch 1, batch 2, …             as they were read

A batch that is done is given back before the next one is read, since reading can wait for the whole query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.worker.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from spark_llm.conf import Conf
    from spark_llm.planner import RowOrder
    from spark_llm.worker.command import Call


def run(
    call: Call,
    conf: Conf,
    batches: Iterator[pa.RecordBatch],
    environ: Mapping[str, str],
    order_table: Callable[..., RowOrder] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Answers a partition.

    Args:
        call: what is asked.
        conf: checked settings.
        batches: columns ``f0`` … as JSON text, then ``instruction`` when the call has none.
        environ: where the executor's engine is.
        order_table: the solver, injectable for tests; None for `spark_llm.planner.order_table`.

    Yields:
        One batch of `command.result_type` per input batch that has rows, in order.

    Raises:
        SparkLLMError: the engine failed as a whole.
    """
    flow = Flow(call, conf, environ, order_table)
    source = iter(batches)
    try:
        while True:
            yield from flow.give_back()
            if flow.full:
                flow.wait()
                continue
            record_batch = next(source, None)
            if record_batch is None:
                break
            if record_batch.num_rows:
                flow.add(record_batch)
        flow.close_window()
        while not flow.empty:
            yield from flow.give_back()
            if not flow.empty:
                flow.wait()
    except BaseException:
        # Also when the JVM needs no more rows (LIMIT) or the task is killed: nobody waits for these answers.
        flow.cancel()
        raise
    finally:
        flow.close()
