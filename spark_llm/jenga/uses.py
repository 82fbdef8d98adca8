"""Remaining uses of a prefix block by rows that are yet to be answered: what eviction goes by.

    planned window of a task          rows that the engine has         rows that are to come
    row 7  instruction │ film A       counted one by one               told by the row that came last:
    row 8  instruction │ film A       `arrive` … `finish`              "after me 3 more begin with film A,
    row 9  instruction │ film B                                         the next of them 1 row later"

    of(block hash) ─► Use(uses, next_use)       uses == 0: nobody is known to want it
    watch(callback)                             called with the hash whose `Use` has changed

All counts are hints: a wrong one costs hits, never an answer. Each row tells what comes after it, so a count
heals itself: of what the rows of a plan say about a block the least holds, whatever their order and however
often they are sent. A plan whose rows stop coming is forgotten after `IDLE_ROWS` rows of others.

A key is what vLLM calls `BlockHash`: of all tokens up to the end of a block, without the number of a group.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IDLE_ROWS: Final = 256
NEVER: Final = 1 << 62


class Use(NamedTuple):
    """What is known of a block.

    Attributes:
        uses: rows that will still read it.
        next_use: when the next of them comes, in rows since the engine began; `NEVER` where there is none.
    """

    uses: int
    next_use: int


class Told(NamedTuple):
    """A junction of a row, as its plan has it.

    Attributes:
        blocks: whole blocks before it, from the front of the prompt.
        uses: later rows of the plan that begin with the same blocks.
        next_rows: how many rows later the next of them comes; 0 where there is none.
    """

    blocks: int
    uses: int
    next_rows: int


NO_USE: Final = Use(0, NEVER)


@dataclass(slots=True)
class _Block:
    """Rows that the engine has, in order of arrival, some of them finished; by plan, rows to come."""

    arrivals: list[int] = field(default_factory=list)
    rows: int = 0
    ahead: int = NEVER
    to_come: dict[str, Use] = field(default_factory=dict)


@dataclass(slots=True)
class _Row:
    arrival: int
    plan: str
    hashes: Sequence[bytes]


@dataclass(slots=True)
class _Plan:
    hashes: set[bytes] = field(default_factory=set)
    rows: int = 0
    open: int = 0


class RemainingUses:
    """Counts of all planned rows of an engine; a call takes time by the blocks that a row shares.

    Attributes:
        clock: rows that have arrived.
    """

    def __init__(self) -> None:
        self.clock = 0
        self._blocks: dict[bytes, _Block] = {}
        self._rows: dict[str, _Row] = {}
        self._unfinished: set[int] = set()
        self._plans: dict[str, _Plan] = {}
        self._idle: dict[str, int] = {}
        self._watchers: list[Callable[[bytes], None]] = []

    def __len__(self) -> int:
        """Blocks of which something is known."""
        return len(self._blocks)

    def watch(self, callback: Callable[[bytes], None]) -> None:
        """Has `callback` called with each hash whose `Use` may have changed."""
        self._watchers.append(callback)

    def of(self, block_hash: bytes) -> Use:
        """What is known of a block."""
        block = self._blocks.get(block_hash)
        if block is None:
            return NO_USE
        self._trim(block)
        uses, next_use = block.rows, block.arrivals[0] if block.arrivals else NEVER
        for use in block.to_come.values():
            uses, next_use = uses + use.uses, min(next_use, use.next_use)
        return Use(uses, next_use)

    def ahead(self, block_hash: bytes) -> int:
        """Whole blocks from the end of this one to the nearest place at which a row may resume.

        A layer with a window needs no block further in front of such a place than its window is long.
        """
        block = self._blocks.get(block_hash)
        return NEVER if block is None else block.ahead

    def arrive(self, row: str, plan: str, hashes: Sequence[bytes], told: Sequence[Told]) -> None:
        """A row came.

        Args:
            row: its name in the engine, not used by another unfinished row.
            plan: the window of a task, by a name of its own.
            hashes: of its blocks, from the front of the prompt.
            told: junctions, the shortest first, also those that no later row uses.
        """
        self.clock += 1
        self._forget_idle()
        shared = hashes[: told[-1].blocks] if told else ()
        if not shared or row in self._rows:
            return
        plans = self._plans
        mine = plans.setdefault(plan, _Plan())
        mine.rows += 1
        self._idle.pop(plan, None)
        self._rows[row] = _Row(self.clock, plan, shared)
        self._unfinished.add(self.clock)
        # Tasks that share an engine get on at about the same pace.
        pace = len(plans) - len(self._idle)
        at = 0
        for blocks, uses, next_rows in told:
            next_use = self.clock + next_rows * pace if uses else NEVER
            for place, block_hash in enumerate(shared[at:blocks], at + 1):
                self._count(block_hash, self.clock, blocks - place)
                self._tell(mine, plan, block_hash, Use(uses, next_use))
            at = max(at, blocks)
        for block_hash in shared:
            self._changed(block_hash)

    def extend(self, row: str, hashes: Sequence[bytes]) -> None:
        """A row lost its blocks before its end, and will come back for all of `hashes`."""
        found = self._rows.get(row)
        if found is None or len(hashes) <= len(found.hashes):
            return
        more = hashes[len(found.hashes) :]
        found.hashes = tuple(hashes)
        for ahead, block_hash in zip(range(len(more) - 1, -1, -1), more, strict=True):
            block = self._blocks.setdefault(block_hash, _Block())
            block.rows += 1
            block.ahead = min(block.ahead, ahead)
            # It came before all that wait, nearly: `of` wants the earliest in front.
            block.arrivals.insert(0, found.arrival)
            self._changed(block_hash)

    def finish(self, row: str) -> None:
        """A row needs no block any more; unknown rows are passed over."""
        found = self._rows.pop(row, None)
        if found is None:
            return
        self._unfinished.discard(found.arrival)
        plan = self._plans[found.plan]
        plan.rows -= 1
        for block_hash in found.hashes:
            block = self._blocks[block_hash]
            block.rows -= 1
            # Not left to `of`: nobody asks it about a block that is always in use.
            self._trim(block)
            self._drop_used_up(block_hash)
        if not plan.rows:
            self._idle[found.plan] = self.clock
            if not plan.open:
                self._forget(found.plan)
        for block_hash in found.hashes:
            self._changed(block_hash)

    def _count(self, block_hash: bytes, arrival: int, ahead: int) -> None:
        block = self._blocks.get(block_hash)
        if block is None:
            block = self._blocks[block_hash] = _Block()
        block.rows += 1
        block.ahead = min(block.ahead, ahead)
        block.arrivals.append(arrival)

    def _tell(self, mine: _Plan, plan: str, block_hash: bytes, use: Use) -> None:
        to_come = self._blocks[block_hash].to_come
        known = to_come.get(plan)
        if known is None:
            mine.hashes.add(block_hash)
            mine.open += use.uses > 0
        elif known.uses <= use.uses:
            return
        else:
            mine.open -= use.uses == 0
        to_come[plan] = use

    def _forget_idle(self) -> None:
        while self._idle and self.clock - next(iter(self._idle.values())) > IDLE_ROWS:
            self._forget(next(iter(self._idle)))

    def _forget(self, plan: str) -> None:
        self._idle.pop(plan, None)
        for block_hash in self._plans.pop(plan).hashes:
            self._blocks[block_hash].to_come.pop(plan, None)
            self._drop_used_up(block_hash)
            self._changed(block_hash)

    def _trim(self, block: _Block) -> None:
        """Lets go of finished rows in front."""
        arrivals = block.arrivals
        done = next((at for at, arrival in enumerate(arrivals) if arrival in self._unfinished), len(arrivals))
        del arrivals[:done]

    def _drop_used_up(self, block_hash: bytes) -> None:
        """Forgets a block that nobody will read; a row of its plans that is sent again tells of it again."""
        block = self._blocks[block_hash]
        if block.rows or any(use.uses for use in block.to_come.values()):
            return
        for plan in block.to_come:
            self._plans[plan].hashes.discard(block_hash)
        del self._blocks[block_hash]

    def _changed(self, block_hash: bytes) -> None:
        for callback in self._watchers:
            callback(block_hash)
