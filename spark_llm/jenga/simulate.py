"""A discrete-event engine in front of a layout: continuous batching, chunked prefill, preemption.

waiting ──fits?──► running ──step: decode one token each, then prompt chunks──► done
   ▲                  │ a page is missing: the youngest loses its pages
   └──────────────────┘
seconds of a step: `spark_llm.costmodel.StepTime`; a windowed layer reads its window only, in every layout
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spark_llm.jenga.layers import TokenPolicy
from spark_llm.jenga.specs import IMAGE, KVSpec, LayerType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.costmodel.step_time import StepTime
    from spark_llm.jenga.memories import Memory

_EVERY_TOKENS = 16


@dataclass(slots=True)
class Request:
    """A request of the simulation.

    Attributes:
        prompt_tokens: text.
        image_tokens: beside it; computed with the first chunk.
        answer_tokens: to generate.
        computed_tokens: text so far, answer included.
        made_tokens: of the answer.
    """

    number: int
    prompt_tokens: int
    image_tokens: int
    answer_tokens: int
    computed_tokens: int = 0
    made_tokens: int = 0
    kv_tokens: float = field(default=0.0, repr=False)


@dataclass(frozen=True, slots=True)
class Run:
    """What a simulation found.

    Attributes:
        seconds: until the last request was done.
        steps: of the engine.
        preemptions: requests that lost their pages.
        mean_running: requests per step.
        peak_running: most at a time.
        taken_share: mean share of the memory that was taken while requests waited; None if none did.
    """

    seconds: float
    steps: int
    preemptions: int
    mean_running: float
    peak_running: int
    taken_share: float | None


class Engine:
    """Runs requests through a memory.

    Args:
        specs: types of the model: what attention reads.
        paged: types as the layout sees them, with the tokens of a page of each; of a state, anything.
        keeps_all: a layout whose token types keep every token, of text and images.
        memory: the layout.
        step_time: seconds of a step.
        max_running: requests at a time.
        chunk_tokens: tokens of a step.
        image_cost: share of a text token's computation that an image token takes.
    """

    def __init__(
        self,
        specs: Sequence[KVSpec],
        paged: Sequence[tuple[KVSpec, int]],
        memory: Memory,
        step_time: StepTime,
        *,
        keeps_all: bool = False,
        max_running: int = 256,
        chunk_tokens: int = 8192,
        image_cost: float = 1.0,
    ) -> None:
        self._specs, self._memory = tuple(specs), memory
        self._step_time, self._keeps_all = step_time, keeps_all
        self._max_running, self._chunk_tokens, self._image_cost = max_running, chunk_tokens, image_cost
        self._paged = [(spec, block, TokenPolicy(spec, block)) for spec, block in paged]
        self._read_bytes = max(sum(spec.layers * spec.token_bytes for spec in specs), 1)

    def pages(self, request: Request, computed: int, upto: int) -> list[range]:
        """Pages by type when tokens from ``computed`` to ``upto`` are about to be computed."""
        found = []
        for spec, block, policy in self._paged:
            if spec.type is LayerType.STATE_SPACE:
                found.append(range(spec.states))
            elif self._keeps_all:
                found.append(range(-(-(upto + request.image_tokens) // block)))
            elif spec.type in IMAGE:
                found.append(range(-(-request.image_tokens // block)))
            else:
                found.append(range(policy.first_token(computed) // block, -(-upto // block)))
        return found

    def peak(self, request: Request) -> list[int]:
        """Pages by type at the end of the prompt, when it comes in chunks."""
        prompt = request.prompt_tokens + request.made_tokens
        chunked = max(prompt - self._chunk_tokens, 0)
        return [len(span) for span in self.pages(request, chunked, prompt)]

    def run(self, requests: Sequence[Request]) -> Run:
        """Runs them all, in order.

        Raises:
            ValueError: a request that does not fit alone.
        """
        waiting, running = deque(requests), list[Request]()
        seconds = taken = 0.0
        steps = preemptions = rows = peak = full_steps = 0
        while waiting or running:
            budget, tokens, kv_tokens = self._chunk_tokens, 0.0, 0.0
            at = 0
            while at < len(running):
                request = running[at]
                total = request.prompt_tokens + request.made_tokens
                chunk = min(max(total - request.computed_tokens, 1), budget)
                if not chunk:
                    break
                while not self._advance(request, chunk):
                    victim = running.pop()
                    if not running:
                        raise ValueError(f"a request of {victim.prompt_tokens} tokens does not fit alone")
                    preemptions += 1
                    self._memory.release(victim.number)
                    victim.computed_tokens = 0
                    waiting.appendleft(victim)
                    if victim is request:
                        break
                else:
                    budget, tokens, kv_tokens = budget - chunk, tokens + chunk, kv_tokens + request.kv_tokens
                    at += 1
            scheduled = at
            while waiting and budget and len(running) < self._max_running and scheduled == len(running):
                request = waiting[0]
                chunk = min(request.prompt_tokens + request.made_tokens, budget)
                if not self._memory.fits(self.peak(request)) or not self._advance(request, chunk):
                    break
                running.append(waiting.popleft())
                computed = chunk + self._image_cost * request.image_tokens
                budget, tokens, scheduled = budget - chunk, tokens + computed, scheduled + 1
                kv_tokens += request.kv_tokens
            if not running:
                raise ValueError(f"a request of {waiting[0].prompt_tokens} tokens does not fit alone")
            if waiting:
                full_steps += 1
                taken += self._memory.taken_share()
            seconds += self._step_time.predict(kv_tokens, tokens, scheduled)
            steps, rows, peak = steps + 1, rows + len(running), max(peak, len(running))
            running = [request for request in running if not self._done(request)]
        return Run(
            seconds, steps, preemptions, rows / max(steps, 1), peak,
            taken / full_steps if full_steps else None,
        )  # fmt: skip

    def _advance(self, request: Request, chunk: int) -> bool:
        """Computes the next tokens of a request if their pages can be had."""
        before = request.computed_tokens
        upto = before + chunk
        # A page is begun or left once in so many tokens.
        if (chunk > 1 or not before % _EVERY_TOKENS) and not self._memory.resize(
            request.number, self.pages(request, before, upto)
        ):
            return False
        request.computed_tokens = upto
        if chunk > 1 or not before % _EVERY_TOKENS:
            needed = sum(
                spec.needed_bytes(upto, request.image_tokens) for spec in self._specs if spec.token_bytes
            )
            request.kv_tokens = needed / self._read_bytes
        return True

    def _done(self, request: Request) -> bool:
        if request.computed_tokens < request.prompt_tokens + request.made_tokens:
            return False
        request.made_tokens += 1
        if request.made_tokens < request.answer_tokens:
            return False
        self._memory.release(request.number)
        return True
