import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.analyze.blocks import level_tokens, prompt_blocks
from spark_llm.analyze.cells import cut_into_cells
from spark_llm.analyze.orders import Requests
from spark_llm.analyze.tokenizer import TokenIds

BLOCK = 4


class Letters:
    """One token per character, so that prompts can be read."""

    note = "letters"

    def counter(self):
        return None

    def encode(self, texts):
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
        return TokenIds(np.array([ord(char) for text in texts for char in text], np.uint32), offsets)


def prompts(table, requests, head):
    """The prompts written out."""
    names = table.column_names
    found = []
    for p, row in enumerate(requests.rows):
        pairs = []
        for field in requests.orders[requests.order_index[p]]:
            column = field if requests.slots is None else requests.slots[p, field]
            value = table.column(int(column))[int(row)].as_py()
            if value is not None:
                pairs.append(f'"{names[field]}": "{value}"')
        found.append(head + ("{" if pairs else "") + ", ".join(pairs) + "}")
    return found


cells = st.sampled_from(["", "a", "ab", "abc", None])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    st.lists(st.permutations(range(3)), min_size=8, max_size=8),
    st.booleans(),
)
def test_equal_keys_are_equal_prefixes(rows, orders, moved):
    table = pa.table(
        {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate("xyz")}
    )
    count = len(rows)
    slots = np.array([orders[-1 - p] for p in range(count)], np.int64) if moved else None
    requests = Requests(
        np.arange(count)[::-1].copy(), np.array(orders[:count], np.int64), np.arange(count), slots
    )
    sets = (("x", "y", "z"),) if moved else ()
    found = cut_into_cells(table, Letters(), "head ", sets)
    blocks = prompt_blocks(found, requests, BLOCK)
    texts = prompts(table, requests, "head ")
    assert blocks.prompt_tokens.tolist() == [len(text) for text in texts]
    prefixes = [text[: BLOCK * (k + 1)] for text in texts for k in range(len(text) // BLOCK)]
    keys = blocks.keys.tolist()
    assert len(keys) == len(prefixes)
    assert len(set(zip(keys, prefixes, strict=True))) == len(set(keys)) == len(set(prefixes))


def test_tokens_per_place_leave_nulls_out():
    table = pa.table({"a": ["xy", None], "bcd": [None, "z"]})
    requests = Requests(np.arange(2), np.array([[1, 0]]), np.zeros(2, np.int64))
    assert level_tokens(cut_into_cells(table, Letters(), ""), requests).tolist() == [
        [0, len('{"a": "xy"')],
        [len('{"bcd": "z"'), 0],
    ]
