from __future__ import annotations

import asyncio
import os
import threading

from spark_llm.engine import background


async def _name():
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_one_thread_for_all():
    assert {background.start(_name()).result(5) for _ in range(3)} == {"spark-llm-client"}
    assert background.loop() is background.loop()


def test_a_forked_child_gets_its_own_loop():
    background.start(_name()).result(5)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if background.start(_name()).result(5) == "spark-llm-client" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
