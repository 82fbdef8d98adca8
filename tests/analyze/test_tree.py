import numpy as np
import pyarrow as pa
import pytest

from spark_llm.analyze.blocks import prompt_blocks
from spark_llm.analyze.cache import reused_tokens
from spark_llm.analyze.cells import cut_into_cells
from spark_llm.analyze.orders import as_written
from spark_llm.analyze.tokenizer import EstimatedTokenizer
from spark_llm.analyze.tree import CLOSER_REQUESTS, MAX_LEVELS, prefix_tree, typical_window


def parts(table):
    cells = cut_into_cells(table, EstimatedTokenizer(), "head " * 20)
    requests = as_written(*cells.ids.shape)
    blocks = prompt_blocks(cells, requests)
    return cells, requests, blocks, reused_tokens(blocks)


def table(rows, fields):
    return pa.table(
        {f"f{at}": [f"value {row >> (fields - at)}" for row in range(rows)] for at in range(fields)}
    )


@pytest.mark.parametrize(("rows", "fields"), [(1, 1), (7, 3), (2000, 3), (300, 72)])
def test_every_level_covers_the_width_and_all_tokens(rows, fields):
    cells, requests, blocks, reused = parts(table(rows, fields))
    tree = prefix_tree(cells, requests, blocks, reused)
    assert len(tree.levels) == min(fields, MAX_LEVELS) + 1
    assert sum(level.tokens for level in tree.levels) == tree.prompt_tokens == blocks.prompt_tokens.sum()
    assert sum(level.reused_tokens for level in tree.levels) == reused.sum()
    for level in tree.levels:
        assert (level.nodes[0].begin, level.nodes[-1].end) == (0, 1)
        assert all(a.end == b.begin for a, b in zip(level.nodes, level.nodes[1:], strict=False))
        assert sum(node.tokens for node in level.nodes) == level.tokens
        assert sum(node.requests for node in level.nodes) == rows
        assert len(level.nodes) < 400


def test_nodes_are_labelled_or_folded():
    cells, requests, blocks, reused = parts(pa.table({"a": ["x"] * 500 + ["y"] * 500, "b": range(1000)}))
    _, a, b = prefix_tree(cells, requests, blocks, reused).levels
    assert [(node.label, node.requests) for node in a.nodes] == [("x", 500), ("y", 500)]
    assert all(node.label.startswith("… ") for node in b.nodes)
    assert sum(node.runs for node in b.nodes) == 1000


def test_the_closer_look_reuses_about_as_much_as_all():
    cells, requests, blocks, reused = parts(table(2000, 4))
    begin, end = typical_window(blocks, reused)
    assert end - begin == CLOSER_REQUESTS
    share = reused[begin:end].sum() / blocks.prompt_tokens[begin:end].sum()
    assert share == pytest.approx(reused.sum() / blocks.prompt_tokens.sum(), abs=0.02)
    tree = prefix_tree(cells, requests, blocks, reused, (begin, end))
    assert tree.prompt_tokens == blocks.prompt_tokens[begin:end].sum()
    assert np.isclose(tree.levels[0].nodes[0].requests, CLOSER_REQUESTS)
