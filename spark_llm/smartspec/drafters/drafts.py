"""One draft per row out of the three drafters: what is forced first, then the best guess, then on from there.

answer so far ─► forced ─► jump | tree | n-gram: most expected accepted tokens ─► forced ─► jump | tree ─► ...
                               │ each token: the learned rate of its kind          until k, or too unlikely
next answer tokens ────────────┴► rates of all candidates, chosen or not
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from spark_llm.smartspec.drafters.acceptance import Acceptance
from spark_llm.smartspec.drafters.forced import ForcedDrafter, Grammar
from spark_llm.smartspec.drafters.ngram import NgramDrafter
from spark_llm.smartspec.drafters.suffix_tree import AnswerTree

Source = Literal["forced", "jump", "tree", "ngram"]
# Kinds of draft tokens, each with a learned rate: the tree's by its estimate in eighths, n-grams by the
# length of the match, which each right token makes longer.
_TREE: Final = 0
_NGRAM: Final = 8
_LONGEST: Final = 8
_JUMP: Final = _NGRAM + _LONGEST + 1
_PRIORS: Final = (
    *(0.06, 0.19, 0.31, 0.44, 0.56, 0.69, 0.81, 0.94),
    *(0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8),
    0.9,
)


class Draft(NamedTuple):
    """Tokens that may come next.

    Attributes:
        tokens: the draft.
        sources: shape (tokens,): where each is from.
        survival: shape (tokens,): estimated probability that it and all before it are right; never rises.
        forced: leading tokens that a grammar leaves no choice about.
    """

    tokens: tuple[int, ...] = ()
    sources: tuple[Source, ...] = ()
    survival: tuple[float, ...] = ()
    forced: int = 0

    def first(self, k: int) -> Draft:
        """The draft cut to `k` tokens."""
        return Draft(self.tokens[:k], self.sources[:k], self.survival[:k], min(self.forced, k))


class _Candidate(NamedTuple):
    source: Source
    tokens: list[int]
    kinds: list[int]
    survival: list[float]


class _Query:
    """What the rows of one query share."""

    def __init__(self, tree: AnswerTree) -> None:
        self.tree = tree
        self.acceptance = Acceptance(_PRIORS)


class Row:
    """One answer that is being decoded; made by `Drafts.start`."""

    def __init__(self, drafts: Drafts, query: _Query, ngram: NgramDrafter, grammar: Grammar | None) -> None:
        self._drafts, self._query, self._ngram = drafts, query, ngram
        self.grammar = grammar
        self.answer_ids: list[int] = []
        self._drafted: list[int] = []
        self._candidates: list[tuple[int, _Candidate]] = []

    def extend(self, new_ids: Sequence[int]) -> None:
        """Appends tokens of the answer, which a grammar has already accepted, and learns from them."""
        for offset, candidate in self._candidates:
            if list(new_ids[:offset]) == self._drafted[:offset]:
                self._query.acceptance.learn(candidate.tokens, candidate.kinds, new_ids[offset:])
        self._candidates = []
        self.answer_ids.extend(new_ids)
        self._ngram.extend(new_ids)

    def draft(self, k: int) -> Draft:
        """At most `k` tokens that may come next, all of which fit the grammar; its state stays as it was."""
        tokens: list[int] = []
        sources: list[Source] = []
        survival: list[float] = []
        forced, advanced = 0, 0
        self._candidates = []
        try:
            while len(tokens) < k:
                if self.grammar is not None:
                    certain = self._drafts.grammars.forced(self.grammar, k - len(tokens))
                    advanced += len(certain)
                    forced += len(certain) if len(tokens) == forced else 0
                    tokens += certain
                    sources += ["forced"] * len(certain)
                    survival += [survival[-1] if survival else 1.0] * len(certain)
                best = self._best(tokens, k - len(tokens))
                if best is None:
                    break
                before = survival[-1] if survival else 1.0
                alive = [
                    before * each for each in best.survival if before * each >= self._drafts.min_survival
                ]
                likely = len(alive)
                survival += alive
                tokens += best.tokens[:likely]
                sources += [best.source] * likely
                if likely < len(best.tokens) or tokens[-1] in self._drafts.end_ids:
                    break
                if self.grammar is not None:
                    self.grammar.accept_tokens("draft", best.tokens)
                    advanced += likely
        finally:
            if self.grammar is not None and advanced:
                self.grammar.rollback(advanced)
        self._drafted = tokens
        return Draft(tuple(tokens), tuple(sources), tuple(survival), forced)

    def _best(self, tokens: list[int], k: int) -> _Candidate | None:
        """The candidate to go on with after the draft's `tokens`; of equals the earlier one."""
        if k <= 0 or (self.grammar is not None and self.grammar.is_terminated()):
            return None
        found = [] if self.grammar is None else self._jump(self.grammar, k)
        found += self._tree(tokens, k)
        if not tokens:
            found += self._copy(k)
        self._candidates += [(len(tokens), candidate) for candidate in found]
        return max(found, key=lambda candidate: sum(candidate.survival), default=None)

    def _jump(self, grammar: Grammar, k: int) -> list[_Candidate]:
        tokens = self._drafts.grammars.jump(grammar, k)
        return self._candidate("jump", tokens, [_JUMP] * len(tokens))

    def _tree(self, tokens: list[int], k: int) -> list[_Candidate]:
        tree = self._query.tree
        drafted, counts = tree.draft([*self.answer_ids[-tree.max_context :], *tokens], k)
        # One more occurrence that went on differently: what was seen once is half sure.
        kinds = [_TREE + 8 * now // (before + 1) for before, now in pairwise(counts)]
        return self._candidate("tree", self._fitting(drafted), kinds)

    def _copy(self, k: int) -> list[_Candidate]:
        drafted, match = self._ngram.draft(k)
        end_ids = self._drafts.end_ids
        if not end_ids.isdisjoint(drafted):
            drafted = drafted[: 1 + next(place for place, token in enumerate(drafted) if token in end_ids)]
        kinds = [_NGRAM + min(match + place, _LONGEST) for place in range(len(drafted))]
        return self._candidate("ngram", self._fitting(drafted), kinds)

    def _fitting(self, tokens: list[int]) -> list[int]:
        return tokens if self.grammar is None or not tokens else self.grammar.validate_tokens(tokens)

    def _candidate(self, source: Source, tokens: list[int], kinds: list[int]) -> list[_Candidate]:
        """One or none."""
        if not tokens:
            return []
        rates, alive, survival = self._query.acceptance.rates, 1.0, []
        for kind in kinds[: len(tokens)]:
            alive *= rates[kind]
            survival.append(alive)
        return [_Candidate(source, tokens, kinds, survival)]


class Drafts:
    """All rows of an engine, and what their queries have learned; not thread-safe, and deterministic."""

    def __init__(
        self,
        grammars: ForcedDrafter,
        end_ids: Collection[int] = (),
        min_survival: float = 0.1,
        max_queries: int = 16,
        new_tree: Callable[[], AnswerTree] = AnswerTree,
    ) -> None:
        """No rows yet.

        Args:
            grammars: reads tokens off grammars.
            end_ids: tokens that end an answer; nothing is drafted behind one.
            min_survival: a draft ends before it becomes less likely than this.
            max_queries: queries that are remembered; the one used longest ago is forgotten for a new one.
            new_tree: makes a query's tree of answers.
        """
        self.grammars = grammars
        self.end_ids = frozenset(end_ids)
        self.min_survival = min_survival
        self._max_queries, self._new_tree = max_queries, new_tree
        self._queries: OrderedDict[Hashable, _Query] = OrderedDict()
        self.drafted_tokens: Counter[Source] = Counter()
        self.accepted_tokens: Counter[Source] = Counter()

    def start(self, prompt_ids: Sequence[int], query_key: Hashable, grammar: Grammar | None = None) -> Row:
        """A row begins to decode; rows with equal `query_key` share answers and rates.

        A grammar that is not ready, or waits for the end of reasoning, may be set later: `row.grammar`.
        Until then drafts may not fit it, and the engine has to cut them.
        """
        return Row(self, self._query(query_key), NgramDrafter(prompt_ids), grammar)

    def learn(self, query_key: Hashable, answer_ids: Sequence[int]) -> None:
        """Adds an answer that ended by itself, whether its row ever had a draft or not."""
        self._query(query_key).tree.add(answer_ids)

    def _query(self, key: Hashable) -> _Query:
        query = self._queries.pop(key, None) or _Query(self._new_tree())
        self._queries[key] = query
        if len(self._queries) > self._max_queries:
            self._queries.popitem(last=False)
        return query

    def observe(self, draft: Draft, accepted: int) -> None:
        """Counts a draft that was verified, cut to what was: `draft.first(k)`; for the metrics."""
        self.drafted_tokens.update(draft.sources)
        self.accepted_tokens.update(draft.sources[:accepted])
