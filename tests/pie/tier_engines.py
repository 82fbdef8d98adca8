"""A toy model by stock vLLM and over the block tier, in one process: writes what they did as JSON.

Memory is so small that rows are preempted; rows return to a prefix after all others, so that only the tier can
have it. Between and within passes the tier's file is damaged, its disk is full, and its link is slow.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import jenga_engine
import jenga_toys

from spark_llm.conf import parse_conf
from spark_llm.costmodel.link import Link
from spark_llm.engine.swap_args import swap_of
from spark_llm.engine.vllm_args import LOOK_UP_PROPOSER, SCHEDULER

PREFIXES, ROWS_EACH, PREFIX_TOKENS, ANSWER_TOKENS = 6, 3, 128, 16
MEMORY_BYTES, BLOCK_TOKENS = 3 << 20, 32


def prompts():
    """Rows of each prefix in turn: what another order would have kept is gone."""
    rng = random.Random(3)
    words = range(10, jenga_toys.VOCABULARY)
    prefixes = [rng.choices(words, k=PREFIX_TOKENS) for _ in range(PREFIXES)]
    return [prefix + rng.choices(words, k=20) for _ in range(ROWS_EACH) for prefix in prefixes]


def settings_of(folder, host_bytes, **swap):
    """Arguments of vLLM, as the plug-in makes them."""
    conf = parse_conf(
        {"spark.llm.swap.enabled": "true", "spark.llm.swap.hostMemory": str(host_bytes)}
        | {f"spark.llm.swap.{name}": value for name, value in swap.items()}
    )
    options = {
        k.replace("-", "_"): v for k, v in swap_of(conf, str(folder), str(folder / "socket"), "cpu").items()
    }
    return options | {"scheduler_cls": SCHEDULER}


class Tier:
    """What the tests do to an engine's tier."""

    def __init__(self, one):
        from vllm.distributed.kv_transfer import get_kv_transfer_group

        self.scheduler, self.one = one.scheduler, one
        self.worker = get_kv_transfer_group().worker
        self.slots = self.worker.slots
        self._schedule, self._at = one.scheduler.schedule, {}
        one.scheduler.schedule = self._scheduled

    def run(self, empty=False, **at):
        """A pass, with what is done before the steps of these numbers."""
        self._step, self._at = 0, {int(name[4:]): do for name, do in at.items()}
        before = dict(self.scheduler.connector.manager.told), *self.bytes()
        ran = self.one.run(prompts(), ANSWER_TOKENS, empty=empty)
        told = self.scheduler.connector.manager.told
        loaded, stored = self.bytes()
        ran |= {name.removeprefix("vllm:kv_offload_"): told[name] - before[0][name] for name in told}
        return ran | {"loaded": loaded - before[1], "stored": stored - before[2], "done": not self._at}

    def bytes(self):
        """Loaded and stored, by the engine's own counters."""
        found = {each.name: each.value for each in self.one._llm.get_metrics() if hasattr(each, "value")}
        return tuple(found.get(f"vllm:kv_offload_{which}_bytes", 0) for which in ("load", "store"))

    def _scheduled(self, *args):
        self._step += 1
        if (do := self._at.pop(self._step, None)) is not None:
            do()
        return self._schedule(*args)

    def damage(self):
        """Changes a byte of every third slot."""
        file, size = self.slots.store.descriptor, self.slots.store._slot_bytes
        for slot in range(0, len(self.slots._checksums), 3):
            at = slot * size + 100
            os.pwrite(file, bytes(255 - each for each in os.pread(file, 1, at)), at)

    def cut(self):
        """Leaves 20 slots of the file, and a piece of one."""
        os.ftruncate(self.slots.store.descriptor, 20 * self.slots.store._slot_bytes + 10)

    def fill_disk(self):
        """Everything that is written from now on finds no room; what is read is nothing that was written."""
        with Path("/dev/full").open("rb+", buffering=0) as full:
            os.dup2(full.fileno(), self.slots.store.descriptor)

    def slow(self, bytes_per_s):
        """From now on the link moves so many bytes a second each way."""
        self.worker.link = Link(0.001, bytes_per_s, bytes_per_s)


def main(folder, file):
    """All of them."""
    model = jenga_toys.make("qwen3", folder)
    common = {"block_tokens": BLOCK_TOKENS, "memory_bytes": MEMORY_BYTES, "max_model_len": 192}
    found = {}
    with jenga_engine.engine(model, "stock", **common) as one:
        found["stock"] = one.run(prompts(), ANSWER_TOKENS)
    with jenga_engine.engine(
        model, "stock", **common, **settings_of(folder, 64 << 20, path=str(folder))
    ) as one:
        tier = Tier(one)
        # A block takes over 0.1 s: stores fall behind, and nobody waits for them.
        tier.slow(500e3)
        found["slow disk"] = tier.run()
        tier.worker.link = None
        found["first"] = tier.run()
        found["again"] = tier.run()
        tier.slow(50e6)
        found["slow, then slower"] = tier.run(step12=lambda: tier.slow(10e6))
        tier.worker.link = None
        found["damaged"] = tier.run(step20=tier.damage)
        found["cut"] = tier.run(step15=tier.cut)
        found["full disk"] = tier.run(step1=tier.fill_disk)
        found["told"] = json.loads((folder / "swap.json").read_text())
    speculation = {
        "speculative_config": {
            "method": "custom_class", "model": LOOK_UP_PROPOSER, "num_speculative_tokens": 3,
        },
    }  # fmt: skip
    small = settings_of(folder, 14 * 64 << 10)
    small["additional_config"]["spark_llm"]["speculative"] = {"policy": "fixed", "pretend": "h100-8b"}
    with jenga_engine.engine(model, "stock", **common, **small, **speculation) as one:
        tier = Tier(one)
        found["small, speculation"] = tier.run()
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    jenga_engine.alone()
    main(Path(sys.argv[1]), sys.argv[2])
