"""Equal questions of one task are asked once."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.worker.command import Call

_LONG_CHARS: Final = 256
_LASTING: Final = frozenset({None, "LLM_OUTPUT_INVALID"})


class Slot:
    """One question and, once its batch is answered, its outcome; shared by all rows that ask it.

    Attributes:
        place: answers of the task that must be there before this one is, in sending order; -1: not planned.
        value: of the Spark type, None before the answer and after a failure.
        condition: error condition, None when all is well; ``message`` goes with it.
        prompt_hash: SHA-256 of the prompt, for calls with provenance.
        reasoning: the mode that answered, for the same.
        model: which of the call's models answered, counted from 0.
    """

    __slots__ = ("condition", "message", "model", "place", "prompt_hash", "reasoning", "value")

    def __init__(self) -> None:
        self.place = -1
        self.value: Any = None
        self.condition: str | None = None
        self.message: str | None = None
        self.prompt_hash: str | None = None
        self.reasoning: str | None = None
        self.model = 0


NOT_ASKED: Final = Slot()
"""The outcome of rows that ask nothing: NULL. It waits for no request."""
NOT_ASKED.place = 0


def applies(call: Call, conf: Conf) -> bool:
    """Tells whether asking once cannot change an answer: n draws at a temperature are n different answers."""
    return conf.flag("spark.llm.dedup.enabled") and (call.temperature == 0 or call.seed is not None)


class PromptTable:
    """The questions of one task, the least recently asked forgotten first.

    Long questions are kept as 128-bit digests: the number of questions bounds the memory, not their length.

    Args:
        capacity: questions kept, also while they wait for their answers.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slots: OrderedDict[str | bytes, Slot] = OrderedDict()

    def find(self, question: str) -> tuple[Slot, bool]:
        """Returns the slot of a question, and whether it is new and therefore has to be asked.

        Args:
            question: any text that is equal for equal questions and for no others.
        """
        key = question if len(question) <= _LONG_CHARS else _digest(question)
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot, False
        slot = Slot()
        if self._capacity > 0:
            if len(self._slots) >= self._capacity:
                self._slots.popitem(last=False)
            self._slots[key] = slot
        return slot, True

    def forget_failed(self) -> None:
        """Drops questions that the engine refused or lost: an equal row that comes later may fare better."""
        failed = [key for key, slot in self._slots.items() if slot.condition not in _LASTING]
        for key in failed:
            del self._slots[key]


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
