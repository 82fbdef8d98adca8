import importlib.util
import random
from pathlib import Path

import bound
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scorer
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
JUDGE = ROOT.parent / "shared" / "tools" / "eval_hits.py"


@pytest.fixture(scope="module")
def judge():
    if not JUDGE.is_file():
        pytest.skip("the judge of plans, eval_hits.py, is not on this machine")
    spec = importlib.util.spec_from_file_location("eval_hits", JUDGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table(tmp_path):
    chance = random.Random(5)
    words = [
        "alpha",
        "beta gamma",
        "a longer text about things – told (slowly), à la carte ☃☃ 日本語",
        "42",
        "",
        'quo"ted',
    ]
    columns = {
        "first": [chance.choice(words) for _ in range(300)],
        "second one": [chance.choice([*words, None]) for _ in range(300)],
        "n": [chance.choice([1, 22, None]) for _ in range(300)],
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("lag", [0, 3])
def test_the_score_is_the_judges(judge, table, lag):
    text = judge.read_table(str(table))
    ours = scorer.Scorer(scorer.as_text(table))
    chance = random.Random(1)
    names = list(text)
    plan = [(row, chance.sample(names, 3)) for row in chance.sample(range(300), 300)]
    for found in (judge.make_order("original", text), judge.make_order("lex:n,first,second one", text), plan):
        theirs = judge.score(text, found, lag=lag)
        mine = ours.score(ours.listed(found), lag)
        assert mine["prompt_tokens"] == theirs["tokens"]
        assert mine["compute_tokens"] == theirs["compute"]["40000"]
        assert mine["hit_share_unlimited"] == pytest.approx(theirs["lru"]["0"])
        assert mine["squared_share"] == pytest.approx(theirs["phc_rate"])


def test_head_is_as_long_as_the_judges(judge):
    assert len(judge.proxy_tokenizer()(judge.SYSTEM.format(q=judge.QUERY))) == scorer.HEAD_TOKENS


cells = st.sampled_from(["", "a", "long text here"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_no_order_beats_the_bound(rows, chance):
    found = scorer.Scorer(pa.table({name: [row[at] for row in rows] for at, name in enumerate("xyz")}))
    limit = bound.spanning_tree_share(found.cells, 1e9)
    for _ in range(5):
        order = [(row, chance.sample("xyz", 3)) for row in chance.sample(range(len(rows)), len(rows))]
        assert found.score(found.listed(order))["cell_share"] <= limit + 1e-6


def test_the_bound_is_reached_where_one_field_decides():
    found = scorer.Scorer(pa.table({"x": ["a", "b"] * 5, "id": [str(at) for at in range(10)]}))
    plan = [(row, ["x", "id"]) for row in [*range(0, 10, 2), *range(1, 10, 2)]]
    assert found.score(found.listed(plan))["cell_share"] == pytest.approx(
        bound.spanning_tree_share(found.cells, 1e9)
    )
    assert bound.spanning_tree_share(found.cells, 10) is None
