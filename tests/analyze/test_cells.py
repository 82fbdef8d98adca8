import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from spark_llm.analyze.cells import cut_into_cells
from spark_llm.analyze.tokenizer import EstimatedTokenizer, FileTokenizer
from spark_llm.errors import SparkLLMError


def cut(table, sets=()):
    return cut_into_cells(table, EstimatedTokenizer(), "head\n", sets)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a", 'b"c\n', "é"], ['"a"', '"b\\"c\\n"', '"é"']),
        ([1, 2], ["1", "2"]),
        ([1.5, float("nan")], ["1.5", "NaN"]),
        ([True, False], ["true", "false"]),
        ([[1, 2], []], ["[1, 2]", "[]"]),
        ([{"k": "v"}], ['{"k": "v"}']),
        ([dt.date(2024, 2, 3)], ['"2024-02-03"']),
        ([b"ab"], ["\"b'ab'\""]),
    ],
)
def test_values_stand_as_json(values, texts):
    assert cut(pa.table({"x": values})).texts == texts


def test_nulls_are_left_out_and_differ_from_the_empty_text():
    cells = cut(pa.table({"x": [None, "", None, "null"]}))
    assert cells.left_out[cells.ids[:, 0]].tolist() == [True, False, True, False]
    assert len(np.unique(cells.ids)) == 3
    assert cells.cell_tokens[0, 0] == 0


def test_equal_values_of_two_fields_are_two_cells_unless_they_are_a_set():
    table = pa.table({"x": ["a", "b"], "y": ["b", "a"], "z": ["a", "a"]})
    assert len(np.unique(cut(table).ids)) == 5
    cells = cut(table, (("x", "y"),))
    assert cells.ids[0, 0] == cells.ids[1, 1]
    assert len(np.unique(cells.ids)) == 3


def test_sets_of_unlike_types_and_dictionary_columns():
    table = pa.table({"x": pa.array(["a", "b"]).dictionary_encode(), "y": [1, 2], "z": pa.nulls(2)})
    cells = cut(table, (("x", "y"),))
    assert [cells.texts[i] for i in cells.ids[1]] == ['"b"', "2", "null"]


def test_chunked_columns_are_one_column():
    table = pa.concat_tables([pa.table({"x": ["a", "b"]}), pa.table({"x": ["b", "c"]})])
    cells = cut(table)
    assert [cells.texts[i] for i in cells.ids[:, 0]] == ['"a"', '"b"', '"b"', '"c"']


def test_a_tokenizer_file_counts_exactly(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "two": 1, "words": 2}, "[UNK]"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library.save(str(tmp_path / "tokenizer.json"))
    tokens = FileTokenizer(tmp_path / "tokenizer.json").encode(["two words", "", "two"])
    assert (tokens.ids.tolist(), tokens.offsets.tolist()) == ([1, 2, 1], [0, 2, 2, 3])
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(SparkLLMError, match=r"LLM_FILE_UNREADABLE.*no.json"):
        FileTokenizer(tmp_path / "no.json")


def test_pieces_of_the_estimate_are_those_that_the_planner_counts():
    from spark_llm.planner.token_estimate import estimate_tokens

    texts = ["", "a", "extraordinarily  long words", "12345 €9.99!!!", "naïve\n\n_x_ ☃☃", " "]
    tokens = EstimatedTokenizer().encode(texts)
    assert np.diff(tokens.offsets).tolist() == estimate_tokens(pa.array(texts)).tolist()
    same = EstimatedTokenizer().encode([" good film", " good book"])
    assert same.ids[0] == same.ids[2]
    assert same.ids[1] != same.ids[3]
