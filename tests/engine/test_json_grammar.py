import importlib.util
import json

import pytest

from spark_llm.engine.json_grammar import with_fixed_blanks

needs_xgrammar = pytest.mark.skipif(
    importlib.util.find_spec("xgrammar") is None, reason="comes with the cpu or gpu extra"
)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("form", [{"choice": ["Yes", "No"]}, {"regex": "[0-9]+"}, {}])
def test_other_forms_stay(form):
    assert with_fixed_blanks(form) == form


@needs_xgrammar
@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)])
def test_only_the_blanks_of_json_dumps_fit(schema):
    import xgrammar
    from xgrammar.testing import _is_grammar_accept_string

    found = with_fixed_blanks({"json": schema})
    assert found.keys() == {"grammar"}
    grammar = xgrammar.Grammar.from_ebnf(found["grammar"])
    value = {"a": 1, "b": ["x", 'a "quoted" one, and: more']}
    assert _is_grammar_accept_string(grammar, json.dumps(value))
    assert not _is_grammar_accept_string(grammar, json.dumps(value, separators=(",", ":")))
    assert not _is_grammar_accept_string(grammar, json.dumps(value, indent=1))
    assert not _is_grammar_accept_string(grammar, '{"a": 1}')
