import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.analyze.cells import cut_into_cells
from spark_llm.analyze.duplicates import DuplicateCounter
from spark_llm.analyze.fields import FieldCounter, dependencies
from spark_llm.analyze.tokenizer import EstimatedTokenizer


def cut(**columns):
    return cut_into_cells(pa.table(columns), EstimatedTokenizer(), "")


def test_dependencies_are_one_way_and_not_trivial():
    cells = cut(
        link=[1, 2, 3, 1, 2, 3], film=["a", "b", "b", "a", "b", "b"], mark=list("xyxyxy"), same=["s"] * 6,
        id=[1, 2, 3, 4, 5, 6],
    )  # fmt: skip
    assert dependencies(cells.ids) == [(0, 1)]


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_a_dependency_holds_for_every_pair_of_rows(rows):
    ids = cut(a=[a for a, _ in rows], b=[b for _, b in rows]).ids
    for a, b in dependencies(ids):
        assert len({tuple(row) for row in ids[:, [a, b]].tolist()}) == len(set(ids[:, a].tolist()))


def test_chunks_add_up_to_the_whole():
    first, second = ["a", "b", None], ["b", "c", None]
    counter = FieldCounter(("x", "y"))
    for part in (first, second):
        counter.add(cut(x=part, y=["k"] * 3))
    whole = FieldCounter(("x", "y"))
    whole.add(cut(x=first + second, y=["k"] * 6))
    assert counter.reports() == whole.reports()
    x, y = counter.reports()
    assert (x.distinct, x.nulls, x.rows, y.distinct) == (4, 2, 6, 1)
    assert 0 < x.repeated_tokens < x.tokens


def test_fields_that_stop_deduplication_are_named():
    counter = DuplicateCounter(("id", "text", "stars"))
    counter.add(cut(id=range(8), text=list("abcdabcd"), stars=[1, 2] * 4).ids)
    lines = {line.left_out: line.questions for line in counter.reports()}
    assert lines == {(): 8, ("id",): 4, ("id", "text"): 2}
    assert counter.reports()[1].saved_share == 0.5


def test_null_and_empty_text_are_two_questions():
    counter = DuplicateCounter(("x", "y"))
    counter.add(cut(x=["", None, "", None], y=["a"] * 4).ids)
    assert counter.reports()[0].questions == 2
