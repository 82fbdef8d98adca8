"""Drafts from finished answers of the same query: labels, JSON skeletons, boiler-plate.

finished answers ─ add ─► every run of <= max_depth tokens, counted: start of answer ─ { ─ "name" ─ : ...
                              │ the oldest leave, their counts with them
answer so far ─ draft ─► longest known end of it ─► its most frequent continuation, then that one's, ...

Source: suffix decoding (arXiv 2411.04975). Differs from the paper: a start-of-answer mark is part of the answer,
so that an empty answer has a context; the longest known context is taken, of at most `max_context` tokens; the
window of answers slides, so that counts follow the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

START: Final = -1


class _Node:
    """A run of tokens that occurred `count` times; its likeliest next token apart from the others."""

    __slots__ = ("best", "count", "others", "token")

    def __init__(self, token: int) -> None:
        self.token = token
        self.count = 0
        self.best: _Node | None = None
        self.others: dict[int, _Node] | None = None

    def child(self, token: int) -> _Node | None:
        best = self.best
        if best is None or best.token == token:
            return best
        return None if self.others is None else self.others.get(token)


def _beats(node: _Node, other: _Node) -> bool:
    """More frequent, or as frequent with the smaller token: one order, whatever came first."""
    return node.count > other.count or (node.count == other.count and node.token < other.token)


class AnswerTree:
    """Counts of all runs of at most `max_depth` tokens in the last answers of one query."""

    def __init__(
        self,
        max_depth: int = 24,
        max_context: int = 8,
        max_answers: int = 10_000,
        max_nodes: int = 1_000_000,
        max_answer_tokens: int = 512,
        min_probability: float = 0.1,
    ) -> None:
        """An empty tree.

        Args:
            max_depth: longest run that is counted: context and continuation together.
            max_context: longest context that is looked for.
            max_answers: answers that are kept; the oldest leaves for a new one.
            max_nodes: runs that are kept; oldest answers leave until they fit.
            max_answer_tokens: of a longer answer only the first so many tokens are counted.
            min_probability: a draft ends before its tokens become less likely than this.

        Raises:
            ValueError: unless 1 <= max_context < max_depth.
        """
        if not 1 <= max_context < max_depth:
            raise ValueError(
                f"max_context is {max_context}, max_depth {max_depth}; allowed: 1 <= max_context < max_depth"
            )
        self.max_depth, self.max_context = max_depth, max_context
        self.max_answers, self.max_nodes, self.max_answer_tokens = max_answers, max_nodes, max_answer_tokens
        self.min_probability = min_probability
        self.nodes = 0
        self._answers: deque[tuple[int, ...]] = deque()
        self._roots: dict[int, _Node] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answer_ids: Sequence[int]) -> None:
        """Counts a finished answer, its end token included; O(tokens * max_depth)."""
        path = (START, *answer_ids[: self.max_answer_tokens])
        self._answers.append(path)
        for start in range(len(path)):
            self._count(path[start : start + self.max_depth])
        while self._answers and (len(self._answers) > self.max_answers or self.nodes > self.max_nodes):
            self._evict()

    def draft(self, answer_ids: Sequence[int], k: int) -> tuple[list[int], list[float]]:
        """Up to `k` tokens that may come next and, for each, how often the context was followed up to it.

        Args:
            answer_ids: the answer so far, or its last `max_context` tokens at least; empty at its start.
            k: most tokens.

        Returns:
            Tokens and their survival: the share, of all places where the context occurred, that went on with
            all tokens up to this one. It never rises and never is below `min_probability`.
        """
        node = self._context(answer_ids)
        tokens: list[int] = []
        survival: list[float] = []
        if node is None:
            return tokens, survival
        count, least = node.count, node.count * self.min_probability
        while len(tokens) < k and (node := node.best) is not None and node.count >= least:
            tokens.append(node.token)
            survival.append(node.count / count)
        return tokens, survival

    def _context(self, answer_ids: Sequence[int]) -> _Node | None:
        """The longest known end of the answer that something followed."""
        size = len(answer_ids)
        context = answer_ids[size - self.max_context :] if size >= self.max_context else (START, *answer_ids)
        for start in range(len(context)):
            node = self._roots.get(context[start])
            for place in range(start + 1, len(context)):
                if node is None:
                    break
                node = node.child(context[place])
            if node is not None and node.best is not None:
                return node
        return None

    def _count(self, run: tuple[int, ...]) -> None:
        node = self._roots.get(run[0])
        if node is None:
            node = self._roots[run[0]] = _Node(run[0])
            self.nodes += 1
        node.count += 1
        for token in run[1:]:
            best = node.best
            if best is None:
                child = node.best = _Node(token)
                self.nodes += 1
                child.count = 1
            elif best.token == token:
                child = best
                child.count += 1
            else:
                child = self._count_other(node, best, token)
            node = child

    def _count_other(self, node: _Node, best: _Node, token: int) -> _Node:
        others = node.others
        if others is None:
            others = node.others = {}
        child = others.get(token)
        if child is None:
            child = others[token] = _Node(token)
            self.nodes += 1
        child.count += 1
        if _beats(child, best):
            del others[token]
            others[best.token] = best
            node.best = child
        return child

    def _evict(self) -> None:
        path = self._answers.popleft()
        for start in range(len(path)):
            self._discount(path[start : start + self.max_depth])

    def _discount(self, run: tuple[int, ...]) -> None:
        node = self._roots[run[0]]
        node.count -= 1
        if not node.count:
            del self._roots[run[0]]
            self.nodes -= len(run)
            return
        for place, token in enumerate(run[1:], 1):
            best, others = node.best, node.others
            child = best if best is not None and best.token == token else (others or {})[token]
            child.count -= 1
            if child is best:
                _choose_best(node, child)
            elif not child.count and others is not None:
                del others[token]
            if not child.count:
                # Runs below it occurred only here: one chain, as long as the rest of this run.
                self.nodes -= len(run) - place
                return
            node = child


def _choose_best(node: _Node, best: _Node) -> None:
    """After `best`, the likeliest child, lost one: another may be it now."""
    others = node.others
    if not others:
        node.best = best if best.count else None
        return
    rival = min(others.values(), key=lambda other: (-other.count, other.token))
    if _beats(rival, best):
        del others[rival.token]
        node.best = rival
        if best.count:
            others[best.token] = best
