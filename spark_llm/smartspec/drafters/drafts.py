"""One draft per row out of the three drafters: what is forced first, then the best guess, then on from there.

answer so far ─► forced ─► jump | tree | n-gram: most expected accepted tokens ─► forced ─► jump | tree ─► ...
                               │ each token: the learned rate of its kind          until k, or too unlikely
next answer tokens ────────────┴► rates of all candidates, chosen or not
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from spark_llm.smartspec.drafters.acceptance import Acceptance
from spark_llm.smartspec.drafters.forced import ForcedDrafter, Grammar
from spark_llm.smartspec.drafters.ngram import NgramDrafter
from spark_llm.smartspec.drafters.suffix_tree import AnswerTree

Source = Literal["forced", "jump", "tree", "ngram"]
Kind = tuple[str, int]

_NGRAM_PRIORS: Final = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8)
_JUMP_PRIOR: Final = 0.9


@dataclass(frozen=True, slots=True)
class Draft:
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


@dataclass(frozen=True, slots=True)
class _Candidate:
    source: Source
    tokens: list[int]
    kinds: list[Kind]
    rates: list[float]

    def expected_tokens(self) -> float:
        total, survival = 0.0, 1.0
        for rate in self.rates:
            survival *= rate
            total += survival
        return total


class _Query:
    """What the rows of one query share."""

    def __init__(self, tree: AnswerTree) -> None:
        self.tree = tree
        self.acceptance = Acceptance()


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
                likely, before = 0, survival[-1] if survival else 1.0
                for rate in best.rates:
                    before *= rate
                    if before < self._drafts.min_survival:
                        break
                    survival.append(before)
                    likely += 1
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
        found = [self._jump(k), self._tree(tokens, k), *([] if tokens else [self._copy(k)])]
        usable = [candidate for candidate in found if candidate.tokens]
        self._candidates += [(len(tokens), candidate) for candidate in usable]
        return max(usable, key=_Candidate.expected_tokens, default=None)

    def _jump(self, k: int) -> _Candidate:
        tokens = [] if self.grammar is None else self._drafts.grammars.jump(self.grammar, k)
        return self._candidate("jump", tokens, [0] * len(tokens), [_JUMP_PRIOR] * len(tokens))

    def _tree(self, tokens: list[int], k: int) -> _Candidate:
        tree = self._query.tree
        drafted, survival = tree.draft([*self.answer_ids[-tree.max_context :], *tokens], k)
        steps = [now / before for now, before in zip(survival, [1.0, *survival], strict=False)]
        return self._candidate(
            "tree", drafted, [int(8 * step) for step in steps], [min(s, 0.95) for s in steps]
        )

    def _copy(self, k: int) -> _Candidate:
        drafted, match = self._ngram.draft(k)
        # Each right token makes the match longer.
        lengths = [min(match + place, len(_NGRAM_PRIORS) - 1) for place in range(len(drafted))]
        return self._candidate("ngram", drafted, lengths, [_NGRAM_PRIORS[length] for length in lengths])

    def _candidate(
        self, source: Source, tokens: list[int], kinds: list[int], priors: list[float]
    ) -> _Candidate:
        for place, token in enumerate(tokens):
            if token in self._drafts.end_ids:
                tokens = tokens[: place + 1]
        if self.grammar is not None and source != "jump" and tokens:
            tokens = self.grammar.validate_tokens(tokens)
        named: list[Kind] = [(source, kind) for kind in kinds[: len(tokens)]]
        rates = list(map(self._query.acceptance.rate, named, priors))
        return _Candidate(source, tokens, named, rates)


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
        self.rows: dict[str, Row] = {}
        self.drafted_tokens: Counter[Source] = Counter()
        self.accepted_tokens: Counter[Source] = Counter()

    def start(
        self, row_id: str, prompt_ids: Sequence[int], query_key: Hashable, grammar: Grammar | None = None
    ) -> Row:
        """A row begins to decode; rows with equal `query_key` share answers and rates.

        A grammar that is not ready, or waits for the end of reasoning, may be set later: `row.grammar`.
        """
        query = self._queries.pop(query_key, None) or _Query(self._new_tree())
        self._queries[query_key] = query
        if len(self._queries) > self._max_queries:
            self._queries.popitem(last=False)
        row = self.rows[row_id] = Row(self, query, NgramDrafter(prompt_ids), grammar)
        return row

    def finish(self, row_id: str, regular: bool = True) -> None:
        """A row is done; its answer is added to the query's when it ended by itself, not cut or aborted."""
        row = self.rows.pop(row_id, None)
        if row is not None and regular:
            row._query.tree.add(row.answer_ids)  # noqa: SLF001

    def observe(self, draft: Draft, accepted: int) -> None:
        """Counts a draft that was verified, cut to what was: `draft.first(k)`; for the metrics."""
        self.drafted_tokens.update(draft.sources)
        self.accepted_tokens.update(draft.sources[:accepted])
