"""From characters of a user message to tokens of the prompt: where a request's shared prefixes end.

    template │ system │ instruction film A │ review 1 │ template
    ◄──── head ──────►◄─────── chars ─────►              head: what two other messages render to alike
    ◄──────────── tokens ─────────────────►              tokens: head + those of the message that end before

A token that ends where a prefix does may be another one in the next row and is not counted; where several
would become one with what follows, a few too many are. Each prefix is
tokenised once: rows of a group share it. Hints only, so whatever goes wrong leaves requests as they are.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from spark_llm.engine.wire import USES_ARGUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOG = logging.getLogger("vllm.spark_llm.memory")
_PROBES: Final = ("7", "x")
_KEPT_TOKENS: Final = 1 << 20
_MOST_HEADS: Final = 64


class PrefixTokens:
    """Tells requests what they share; see the module.

    Args:
        serving: vLLM's `OpenAIServingChat`.
    """

    def __init__(self, serving: Any) -> None:
        self._serving = serving
        self._heads: dict[str, int] = {}
        self._ends: Callable[[str], Sequence[int]] | None = None
        self._lock = asyncio.Lock()
        self._off = False

    async def tell(self, requests: Sequence[Any], uses: Sequence[Sequence[Any]]) -> None:
        """Adds the argument that the scheduler reads.

        Args:
            requests: chat completions, the text of rows split from control text already.
            uses: of each, the name of its plan, then chars, uses and next_rows of each prefix.
        """
        if self._off:
            return
        try:
            asked = [
                (request, plan, numbers, await self._head(request))
                for request, (plan, *numbers) in zip(requests, uses, strict=True)
                if numbers
            ]
            places = [(request.messages[-1]["content"], numbers[::3]) for request, _, numbers, _ in asked]
            # Off the event loop, which serves answers meanwhile; in turns, as the tokenizer is not shared.
            async with self._lock:
                found = await asyncio.to_thread(self._tokens, places)
            for (request, plan, numbers, head), tokens in zip(asked, found, strict=True):
                told = zip((head + each for each in tokens), numbers[1::3], numbers[2::3], strict=True)
                request.vllm_xargs = (request.vllm_xargs or {}) | {
                    USES_ARGUMENT: [plan, *(number for each in told for number in each)]
                }
        except Exception:  # noqa: BLE001  whatever it is, rows are answered without
            # Said once where it will be the same for every batch.
            self._off = self._ends is None
            _LOG.warning("rows are not told what they share", exc_info=True)

    def _tokens(self, places: Sequence[tuple[str, Sequence[int]]]) -> list[list[int]]:
        if self._ends is None:
            self._ends = _ends_of(self._serving.renderer.tokenizer)
        return [tokens_at(self._ends, text, chars) for text, chars in places]

    async def _head(self, request: Any) -> int:
        """Tokens before the last message's text."""
        key = json.dumps([request.messages[:-1], request.chat_template_kwargs])
        if key not in self._heads:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            one, other = [await self._rendered(request, probe) for probe in _PROBES]
            differ = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            self._heads[key] = next(differ, 0)
        return self._heads[key]

    async def _rendered(self, request: Any, text: str) -> list[int]:
        messages = [*request.messages[:-1], {**request.messages[-1], "content": text}]
        _, prompts = await self._serving.render_chat_request(
            request.model_copy(update={"messages": messages})
        )
        tokens: list[int] = prompts[0]["prompt_token_ids"]
        return tokens


def _ends_of(tokenizer: Any) -> Callable[[str], Sequence[int]]:
    """Where the tokens of a text end, in characters.

    Raises:
        AttributeError: a tokenizer that does not say where its tokens lie.
    """
    # Its own: vLLM's is used by other threads, and does not stand being used by two.
    own = copy.deepcopy(tokenizer.backend_tokenizer)
    own.no_truncation()
    own.no_padding()

    known: dict[str, array[int]] = {}
    kept_tokens = 0

    def ends(text: str) -> Sequence[int]:
        nonlocal kept_tokens
        found = known.pop(text, None)
        if found is None:
            found = array("I", [end for _, end in own.encode(text, add_special_tokens=False).offsets])
            kept_tokens += len(found)
        known[text] = found
        while kept_tokens > _KEPT_TOKENS and len(known) > 1:
            # What was not asked for longest stands in front.
            kept_tokens -= len(known.pop(next(iter(known))))
        return found

    return ends


def tokens_at(ends: Callable[[str], Sequence[int]], text: str, chars: Sequence[int]) -> list[int]:
    """Tokens of a text that end before each of some places in it, ascending.

    Args:
        ends: where the tokens of a text end.
        text: the message.
        chars: the places.
    """
    known = ends(text[: chars[-1]]) if chars[-1] else ()
    return [bisect_left(known, each) for each in chars]
