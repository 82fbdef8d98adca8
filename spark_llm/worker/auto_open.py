"""Puts the client of `reasoning => 'auto'`, or of two models, together from call, settings and task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spark_llm.worker import clients
from spark_llm.worker.budget import TaskId
from spark_llm.worker.port import Port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.conf import Conf
    from spark_llm.worker.answer import AnswerParser
    from spark_llm.worker.auto import AutoClient
    from spark_llm.worker.command import Call
    from spark_llm.worker.reasoning import Modes
    from spark_llm.worker.shelf import Shelf

_log = logging.getLogger(__name__)


def open_auto(
    call: Call, conf: Conf, environ: Mapping[str, str], modes: Modes, parse: AnswerParser
) -> AutoClient | None:
    """Returns the client of the current task; None for calls in another mode, with one model."""
    if not call.models and (modes.mode != "auto" or modes.on is None):
        return None
    # numpy and what fits routers come only with calls that need them
    from spark_llm.router import Budget
    from spark_llm.worker.auto import AutoClient, AutoSettings
    from spark_llm.worker.by_text import published
    from spark_llm.worker.first_pass import AnswerReader
    from spark_llm.worker.models import arms_of

    off, on = arms_of(call, conf) if call.models else (modes.off, modes.on or modes.off)
    policy = conf.text("spark.llm.reasoning.policy")
    return AutoClient(
        lambda: clients.client_for(conf, environ),
        off,
        on,
        AnswerReader(parse),
        shelf_for(call, environ),
        AutoSettings(
            policy=policy,
            budget=Budget(row_tokens=conf.get("spark.llm.reasoning.budget")),
            rows=call.rows,
            shape=call.router_key,
            remembered=call.router,
            published=published(conf) if policy == "semantic_router" else None,
        ),
    )


def shelf_for(call: Call, environ: Mapping[str, str]) -> Shelf:
    """Returns where the tasks of this query share a fitted router: at the driver, else in this process."""
    from spark_llm.worker.shelf import LocalShelf, PortShelf

    task, key = TaskId.current(), call.router_key or call.name
    port = Port.open(environ)
    if port is not None:
        return PortShelf(port, task.query, key, task.attempt)
    _log.warning("there is no way to the driver: this worker process runs a pilot of its own")
    return LocalShelf((task.query, key))
