"""The queries of queries.py: the paper's five kinds over tables that stand for its tables.

    kind            calls                                   over
    T1 filter       one, in WHERE                           all fields of the table
    T2 projection   one, in SELECT, with longer answers     the long fields
    T3 two calls    one in WHERE, one in SELECT             a review alone, then review and film
    T4 aggregate    avg of a score                          review and film
    T5 retrieval    one, in SELECT                          question and retrieved passages

Source: "Optimizing LLM Queries in Relational Data Analytics Workloads", arXiv 2403.05821, section 6.1. A
model with random weights passes no filter of the paper's words, so T3 takes the answers whose hash is even.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CHARS_PER_TOKEN: Final = 4
GROUPS: Final = {
    "movies": "rottentomatoeslink",
    "movies_wide": "rottentomatoeslink",
    "products": "parent_asin",
    "posts": "PostId",
    "beer": "beer/name",
    "listing_reviews": "listing_id",
    "listings_wide": "host_id",
    "contributions": "CMTE_ID",
    "healthver": "topic_ip",
}
"""What whole groups of are sampled; of tables that are not here, a run of rows as they stand."""


LONGER: Final = {"squad_rag": 3, "climate_fever": 2}
"""Tables that need more rows, times the budget: their texts come back far apart."""


class Call(NamedTuple):
    """One call.

    Attributes:
        instruction: what is asked.
        fields: columns in written order; none: all of the table.
        max_tokens: longest answer.
        any_order: those of the fields that are declared interchangeable; they must stand last.
    """

    instruction: str
    fields: tuple[str, ...]
    max_tokens: int
    any_order: tuple[str, ...] = ()

    def sql(self, columns: list[str], *, plain: bool = False, instruction: str | None = None) -> str:
        """Returns the call in SQL, of the plug-in or of the plain UDF."""
        fields = self.fields or tuple(columns)
        question = (instruction or self.instruction).replace("'", "\\'")
        single = [f"`{name}`" for name in fields if name not in self.any_order]
        together = [f"`{name}`" for name in self.any_order]
        if plain:
            return f"plain_{self.max_tokens}('{question}', to_json(struct({', '.join(single + together)})))"
        words = [*single, f"any_order({', '.join(together)})"] if together else single
        return f"llm('{question}', {', '.join(words)}, max_tokens => {self.max_tokens})"


class Query(NamedTuple):
    """One query.

    Attributes:
        kind: of the paper.
        table: its name.
        statement: SQL with a place {0}, {1} … per call.
        calls: what is asked, in the order in which the query needs the answers.
    """

    kind: str
    table: str
    statement: str
    calls: tuple[Call, ...]

    def sql(self, columns: list[str], view: str, *, plain: bool = False) -> str:
        """Returns the query in SQL over a view."""
        return self.statement.format(*(call.sql(columns, plain=plain) for call in self.calls), view=view)


_FILTER: Final = "SELECT row_id FROM {view} WHERE {0} = 'Yes'"
_PROJECT: Final = "SELECT row_id, {0} AS answer FROM {view}"
_FILTER_THEN: Final = "SELECT row_id, {1} AS answer FROM {view} WHERE pmod(hash({0}), 2) = 0"
_AVERAGE: Final = "SELECT avg(try_cast({0} AS DOUBLE)) AS score, count(*) AS n FROM {view}"

_SUITABLE: Final = "Is the film suitable for children? Answer ONLY with 'Yes' or 'No'."
_PASSAGES: Final = tuple(f"context{at}" for at in range(1, 6))
_EVIDENCE: Final = tuple(f"evidence{at}" for at in range(1, 5))
_SUPPORTS: Final = (
    "You are given pieces of evidence and a claim. Answer SUPPORTS if they support it, REFUTES if they "
    "refute it, or NOT ENOUGH INFO if there is not enough in them."
)
_ANSWER: Final = "Given a question and the passages that were retrieved for it, answer the question."
_LIKED: Final = "Given a review and what the film is about, name the qualities that led to a good rating."
_SCORE: Final = (
    "Rate how much the critic liked the film from 1 (bad) to 5 (good). Answer ONLY with the number."
)
_SENTIMENT: Final = "Is the review POSITIVE or NEGATIVE? Answer ONLY with one of these words."

QUERIES: Final = (
    Query("T1 filter", "movies", _FILTER, (Call(_SUITABLE, (), 2),)),
    Query("T1 filter", "movies_wide", _FILTER, (Call(_SUITABLE, (), 2),)),
    Query(
        "T1 filter", "products", _FILTER,
        (Call("Is the customer content? Answer ONLY with 'Yes' or 'No'.", (), 3),),
    ),
    Query(
        "T1 filter", "posts", _FILTER,
        (Call("Is the post about statistics? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T1 filter", "beer", _FILTER,
        (Call("Is the beer from Europe? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T1 filter", "listing_reviews", _FILTER,
        (Call("Was the stay quiet? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T1 filter", "listings_wide", _FILTER,
        (Call("Is this a home for a family? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T1 filter", "contributions", _FILTER,
        (Call("Does the donor work in finance? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T5 retrieval, set", "squad_rag", _PROJECT,
        (Call(_ANSWER, ("question", *_PASSAGES), 8, _PASSAGES),),
    ),
    Query("T5 retrieval", "squad_rag", _PROJECT, (Call(_ANSWER, ("question", *_PASSAGES), 8),)),
    Query(
        "T5 retrieval, set", "climate_fever", _PROJECT,
        (Call(_SUPPORTS, ("claim", *_EVIDENCE), 3, _EVIDENCE),),
    ),
    Query("T5 retrieval", "healthver", _PROJECT, (Call(_SUPPORTS, ("claim", "evidence", "question"), 3),)),
    Query("T2 projection", "movies", _PROJECT, (Call(_LIKED, ("reviewcontent", "movieinfo"), 16),)),
    Query(
        "T2 projection", "products", _PROJECT,
        (Call("Does the review agree with the description?", ("text", "product_title", "description"), 16),),
    ),
    Query(
        "T2 projection", "posts", _PROJECT,
        (Call("How does the comment relate to the post?", ("Text", "Body"), 16),),
    ),
    Query(
        "T3 two calls", "movies", _FILTER_THEN,
        (Call(_SENTIMENT, ("reviewcontent",), 4), Call(_LIKED, ("reviewcontent", "movieinfo"), 16)),
    ),
    Query("T4 aggregate", "movies", _AVERAGE, (Call(_SCORE, ("reviewcontent", "movieinfo"), 2),)),
    Query(
        "T4 aggregate", "products", _AVERAGE,
        (Call("Rate the review from 1 (bad) to 5 (good).", ("text", "product_title", "description"), 2),),
    ),
)  # fmt: skip
SHOP: Final = (
    Query(
        "T1 filter", "shop_reviews", _FILTER,
        (Call("Is it about food? Answer ONLY with 'Yes' or 'No'.", (), 2),),
    ),
    Query(
        "T3 two calls", "shop_reviews", _FILTER_THEN,
        (Call(_SENTIMENT, ("text",), 4), Call("Sum it up.", ("text", "product_name"), 16)),
    ),
)  # fmt: skip
"""Where there are no tables: the demo's shop, reviews joined to products."""


def sample(path: Path, budget_tokens: int, most_rows: int | None, seed: int) -> pa.Table:
    """Returns whole groups of a table in the table's own order, with `row_id` as last column.

    A uniform sample would leave most groups with one row and so nothing to share. Rows stay as they stand in
    the file, since that is the order which is compared with.

    Args:
        path: a Parquet file.
        budget_tokens: groups are taken until their cells have about so many tokens, 4 characters each; the
            last group can be cut.
        most_rows: the same limit in rows, None for none.
        seed: chooses the groups.
    """
    table = pq.read_table(path)
    sizes = _row_tokens(table)
    budget_tokens *= LONGER.get(path.stem, 1)
    order = list(range(table.num_rows))
    group = GROUPS.get(path.stem)
    chance = random.Random(seed)
    if group is None:
        needed = _count_within(sizes, order, budget_tokens, most_rows)
        start = chance.randrange(max(1, table.num_rows - needed + 1))
        chosen = order[start : start + needed]
    else:
        values = table.column(group).to_pylist()
        names = list(dict.fromkeys(values))
        chance.shuffle(names)
        place = {name: at for at, name in enumerate(names)}
        order.sort(key=lambda row: place[values[row]])
        chosen = sorted(order[: _count_within(sizes, order, budget_tokens, most_rows)])
    found = table.take(pa.array(chosen))
    return found.append_column("row_id", pa.array(chosen, pa.int64()))


def _row_tokens(table: pa.Table) -> list[int]:
    """About the tokens per row, names included."""
    total = pa.array([sum(len(name) + 6 for name in table.column_names)] * table.num_rows)
    for column in table.columns:
        total = pc.add(total, pc.fill_null(pc.utf8_length(pc.cast(column, pa.large_string())), 0))
    return [chars // CHARS_PER_TOKEN for chars in total.to_pylist()]


def _count_within(sizes: list[int], order: list[int], budget_tokens: int, most_rows: int | None) -> int:
    used = 0
    for count, row in enumerate(order):
        if used >= budget_tokens or count == most_rows:
            return count
        used += sizes[row]
    return len(order)


def texts(tables: list[pa.Table]) -> Any:
    """Yields the text of the tables' cells as prompts show it, for a vocabulary."""
    for table in tables:
        for row in table.to_pylist():
            yield "\n".join(f'{{"{name}": "{value}", ' for name, value in row.items())
