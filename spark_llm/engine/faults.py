"""How a misbehaving endpoint misbehaves, and when: by script, by seed, or by what a prompt says; pure.

script   ["429", "ok", "drop"]      the first requests in their order of arrival, then all is well
always   {"bad row": "truncated"}   requests whose messages contain the text, each time
share    {"500": 0.2, "slow": 0.1}  a seeded draw per request and attempt, whatever order they arrive in
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, get_args

from spark_llm.errors import SparkLLMError, listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Fault = Literal[
    "ok", "429", "429-seconds", "429-date", "500", "slow", "truncated", "drop", "drop-mid", "wrong-schema",
    "error-200", "400",
]  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)


@dataclass
class Faults:
    """Chooses a fault per request.

    Args:
        script: see the module.
        always: see the module.
        share: see the module; what is left to 1 is well.
        seed: of the draws.

    Attributes:
        done: faults so far, by name.

    Raises:
        SparkLLMError: LLM_INVALID_ARGUMENT for a fault that does not exist, or shares above 1.
    """

    script: Sequence[Fault] = ()
    always: Mapping[str, Fault] = field(default_factory=dict)
    share: Mapping[Fault, float] = field(default_factory=dict)
    seed: int = 0
    done: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        for name in (*self.script, *self.always.values(), *self.share):
            if name not in FAULTS:
                raise _invalid(name, listing(FAULTS))
        if min(self.share.values(), default=0.0) < 0 or sum(self.share.values()) > 1 + 1e-9:
            raise _invalid(dict(self.share), "shares from 0 whose sum is at most 1")
        self._left = deque(self.script)
        self._tries: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def next(self, messages: str) -> Fault:
        """The fault of a request.

        Args:
            messages: its messages, in any form that is the same each time they come.
        """
        with self._lock:
            chosen = self._choose(messages)
            self.done[chosen] += 1
        return chosen

    def _choose(self, messages: str) -> Fault:
        if self._left:
            return self._left.popleft()
        for text, fault in self.always.items():
            if text in messages:
                return fault
        digest = blake2b(f"{self.seed}\0{messages}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._tries[digest] += 1
        draw = blake2b(digest + str(self._tries[digest]).encode(), digest_size=8).digest()
        chance = int.from_bytes(draw, "big") / 2**64
        for fault, share in self.share.items():
            chance -= share
            if chance < 0:
                return fault
        return "ok"


def _invalid(value: object, expected: str) -> SparkLLMError:
    return SparkLLMError(
        "LLM_INVALID_ARGUMENT", {"argument": "--faults", "value": str(value), "expected": expected}
    )
