import numpy as np
import pytest

from spark_llm.smartspec.policy import Step
from spark_llm.smartspec.static import ByBatchSize, Static


def step(batch, drafts=5):
    return Step(np.arange(batch), np.full(batch, drafts), np.zeros(batch, np.int64), 100, 0, 0, 2048)


def test_one_length_as_far_as_there_are_drafts():
    assert Static(3).draft_lengths(step(2)).tolist() == [3, 3]
    assert Static(3).draft_lengths(step(2, drafts=1)).tolist() == [1, 1]


def test_lengths_by_batch_size_with_both_ends():
    table = ByBatchSize([(1, 4, 5), (5, 8, 2), (9, 16, 0)])
    assert [int(table.draft_lengths(step(b))[0]) for b in (1, 4, 5, 8, 9, 16, 99)] == [5, 5, 2, 2, 0, 0, 0]
    assert len(table.draft_lengths(step(0))) == 0


@pytest.mark.parametrize(
    "table", [[], [(2, 4, 1)], [(1, 4, 1), (6, 8, 1)], [(1, 4, 1), (4, 8, 1)], [(1, 0, 1)]]
)
def test_a_table_with_gaps_is_refused(table):
    with pytest.raises(ValueError, match="without gaps"):
        ByBatchSize(table)
