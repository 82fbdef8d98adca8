"""Drafts from finished answers of the same query: labels, JSON skeletons, boiler-plate.

finished answers ─ add ─► every run of <= max_depth tokens, counted: start of answer ─ { ─ "name" ─ : ...
                              │ the oldest leave, their counts with them
answer so far ─ draft ─► longest known end of it ─► its most frequent continuation, then that one's, ...

Source: suffix decoding (arXiv 2411.04975). Differs from the paper: a start-of-answer mark is part of the
answer, so that an empty answer has a context; the longest known context is taken, of at most `max_context`
tokens; the window of answers slides, so that counts follow the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

START: Final = -1


class _Node:
    """A run of tokens that occurred `count` times.

    Its likeliest next token is `best`, apart from the `others`. Where one run alone went on from here, no
    node is built: `path[place:]`, as far as the depth allows, stands for nodes of count 1 (as in free text).
    """

    __slots__ = ("best", "count", "others", "path", "place", "token")

    def __init__(self, token: int, path: tuple[int, ...] | None, place: int) -> None:
        self.token = token
        self.count = 1
        self.best: _Node | None = None
        self.others: dict[int, _Node] | None = None
        self.path = path
        self.place = place

    def child(self, token: int) -> _Node | None:
        best = self.best
        if best is not None and best.token == token:
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
        max_nodes: int = 200_000,
        max_answer_tokens: int = 512,
        min_probability: float = 0.1,
    ) -> None:
        """An empty tree.

        Args:
            max_depth: longest run that is counted: context and continuation together.
            max_context: longest context that is looked for.
            max_answers: answers that are kept; the oldest leaves for a new one.
            max_nodes: most nodes, of about 100 bytes; oldest answers leave until they fit.
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
        """Counts a finished answer, its end token included; O(tokens * max_depth), less where it is new."""
        path = (START, *answer_ids[: self.max_answer_tokens])
        self._answers.append(path)
        for start in range(len(path)):
            self._count(path, start)
        while self._answers and (len(self._answers) > self.max_answers or self.nodes > self.max_nodes):
            oldest = self._answers.popleft()
            for start in range(len(oldest)):
                self._discount(oldest, start)

    def draft(self, answer_ids: Sequence[int], k: int) -> tuple[list[int], list[int]]:
        """Up to `k` tokens that may come next, and how often the context was followed by them.

        Args:
            answer_ids: the answer so far, or its last `max_context` tokens at least; empty at its start.
            k: most tokens.

        Returns:
            Tokens and counts, shape (tokens + 1,) or empty: how often the context occurred, then how often
            with each token and all before it. They never rise, nor fall below `min_probability` of the first.
        """
        size = len(answer_ids)
        known = answer_ids[size - self.max_context :] if size >= self.max_context else (START, *answer_ids)
        for start in range(len(known)):
            counts, tokens = self._follow(known, start, k)
            if tokens:
                break
        else:
            return [], []
        likely = sum(count >= counts[0] * self.min_probability for count in counts)
        return tokens[: likely - 1], counts[:likely] if likely > 1 else []

    def _follow(self, known: Sequence[int], start: int, k: int) -> tuple[list[int], list[int]]:
        """Counts of the context `known[start:]` and of each token after it, and these tokens."""
        node = self._roots.get(known[start])
        for place in range(start + 1, len(known)):
            if node is None:
                return [], []
            if node.path is not None:
                return self._follow_path(node, place - start, known[place:], k)
            node = node.child(known[place])
        counts: list[int] = []
        tokens: list[int] = []
        if node is None:
            return counts, tokens
        counts.append(node.count)
        for depth in range(len(known) - start, self.max_depth):
            if len(tokens) == k:
                break
            if node.path is not None:
                tail = node.path[node.place : node.place + min(k - len(tokens), self.max_depth - depth)]
                return counts + [1] * len(tail), [*tokens, *tail]
            if node.best is None:
                break
            node = node.best
            counts.append(node.count)
            tokens.append(node.token)
        return counts, tokens

    def _follow_path(
        self, node: _Node, depth: int, rest: Sequence[int], k: int
    ) -> tuple[list[int], list[int]]:
        """The same where only one run went on from `node` and the context has `rest` left."""
        path, end = node.path or (), node.place + len(rest)
        if path[node.place : end] != tuple(rest):
            return [], []
        tail = path[end : end + min(k, max(self.max_depth - depth - len(rest), 0))]
        return [1] * (len(tail) + 1), list(tail)

    def _count(self, path: tuple[int, ...], start: int) -> None:
        end = min(start + self.max_depth, len(path))
        node = self._roots.get(path[start])
        if node is None:
            self._roots[path[start]] = self._leaf(path, start)
            return
        node.count += 1
        for place in range(start + 1, end):
            if node.path is not None:
                # Another run goes on from here now: the one that was alone gets a node for its next token.
                node.best = self._leaf(node.path, node.place)
                node.path = None
            best, token = node.best, path[place]
            if best is None:
                node.path, node.place = path, place
                return
            if best.token == token:
                best.count += 1
                node = best
                continue
            if node.others is None:
                node.others = {}
            child = node.others.get(token)
            if child is None:
                node.others[token] = child = self._leaf(path, place)
                _promote(node, best, child)
                return
            child.count += 1
            _promote(node, best, child)
            node = child

    def _leaf(self, path: tuple[int, ...], place: int) -> _Node:
        self.nodes += 1
        return _Node(path[place], path if place + 1 < len(path) else None, place + 1)

    def _discount(self, path: tuple[int, ...], start: int) -> None:
        node = self._roots[path[start]]
        node.count -= 1
        if not node.count:
            self._drop(self._roots.pop(path[start]))
            return
        for place in range(start + 1, min(start + self.max_depth, len(path))):
            if node.path is not None:
                # Any other run that went on from here would have ended this.
                node.path = None
                return
            best, others, token = node.best, node.others, path[place]
            child = best if best is not None and best.token == token else (others or {})[token]
            child.count -= 1
            if child is best:
                _choose_best(node, child)
            elif not child.count and others is not None:
                del others[token]
            if not child.count:
                self._drop(child)
                return
            node = child

    def _drop(self, node: _Node | None) -> None:
        # What lies below a run that occurs no more occurred only there: one chain.
        while node is not None:
            self.nodes -= 1
            node = node.best


def _promote(node: _Node, best: _Node, child: _Node) -> None:
    """After `child`, one of the others, gained one: it may be the likeliest now."""
    if _beats(child, best) and node.others is not None:
        del node.others[child.token]
        node.others[best.token] = best
        node.best = child


def _choose_best(node: _Node, best: _Node) -> None:
    """After `best` lost one: another may be the likeliest now, or none is left."""
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
