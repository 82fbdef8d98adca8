"""How prompts of a window share their beginnings, measured where they are asked."""

import itertools
import json

import pytest
from worker_helpers import answered, batch, load_command, spec

from spark_llm.engine.types import EngineAnswer
from spark_llm.worker import profile

REPORT = {"spark.llm.report.dir": "/x", "spark.llm.planner.policy": "original"}


def profiles(conf, *batches, **call):
    function, _ = load_command(spec(conf=conf, **call))
    texts = [text for out in function(iter(batches)) for text in out.column("profile").to_pylist()]
    return [json.loads(text) for text in texts if text is not None]


def replies(prompt=100, cached=0):
    return lambda user: EngineAnswer("yes", None, None, prompt, cached, 2, "stop")


ROWS = [["Paris", f"review {n}"] for n in range(6)] + [["Rome", f"review {n}"] for n in range(2)]


def test_nothing_is_made_without_a_report(engine):
    engine(replies())
    assert profiles({}, batch(*ROWS)) == []


def test_levels_and_their_tokens(engine):
    engine(replies(100, 40))
    (found,) = profiles(REPORT, batch(*ROWS))
    levels = found["levels"]
    assert [level["fields"] for level in levels] == [{"instruction": 8}, {"city": 8}, {"review": 8}]
    assert [level["prefixes"] for level in levels] == [1, 2, 8]
    assert sum(level["tokens"] for level in levels) == found["tokens"] == 800
    # the tokens found are the first ones: 40 of each prompt lie within the instruction
    assert [level["reused_tokens"] for level in levels] == [320, 0, 0]


def test_the_tree_covers_the_whole_width_level_by_level(engine):
    engine(replies(100, 90))
    (found,) = profiles(REPORT, batch(*ROWS))
    for level in found["tree"]["levels"]:
        edges = [(node[0], node[1]) for node in level["nodes"]]
        assert (edges[0][0], edges[-1][1]) == (0, 1)
        assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
        assert sum(node[4] for node in level["nodes"]) == 8
        assert sum(node[5] for node in level["nodes"]) == level["tokens"]
    assert [node[4] for node in found["tree"]["levels"][1]["nodes"]] == [6, 2]


def test_values_are_labels_only_where_prompts_may_be_logged(engine):
    engine(replies())
    assert "Paris" not in json.dumps(profiles(REPORT, batch(*ROWS)))
    shown = profiles({**REPORT, "spark.llm.logPrompts.enabled": "true"}, batch(*ROWS))
    assert [node[2] for node in shown[0]["tree"]["levels"][1]["nodes"]] == ["Paris", "Rome"]


def test_nulls_take_no_place(engine):
    engine(replies())
    (found,) = profiles(REPORT, batch(["Paris", None], ["Paris", "x"]))
    (null, text) = sorted(found["tree"]["levels"][2]["nodes"], key=lambda node: node[5])
    assert (null[2], null[5]) == ("null", 0)
    assert text[5] > 0


def test_requests_that_failed_are_not_counted(engine):
    engine(lambda user: EngineAnswer(None, "LLM_REQUEST_REJECTED", "no", 0, 0, 0, None))
    assert profiles(REPORT, batch(*ROWS), on_error="null") == []


def test_many_fields_are_folded_into_a_last_level(engine):
    engine(replies())
    names = [f"f{n}" for n in range(12)]
    (found,) = profiles(REPORT, batch([str(n) for n in range(12)], ["0", *"abcdefghijk"]), names=names)
    assert len(found["levels"]) == 1 + profile.MAX_FIELDS
    assert found["tree"]["levels"][-1]["name"] == "… 5 more fields"
    assert sum(level["tokens"] for level in found["levels"]) == found["tokens"]


def test_a_long_task_tells_in_parts_that_sum_up(engine, monkeypatch):
    engine(replies())
    monkeypatch.setattr(profile, "WINDOW_REQUESTS", 4)
    batches = [batch(*[["Paris", f"{part} {n}"] for n in range(4)]) for part in range(5)]
    found = profiles(REPORT, *batches)
    assert len(found) > 1
    assert sum(each["tokens"] for each in found) == 2000


@pytest.mark.parametrize("policy", ["default", "original"])
def test_answers_stay_what_they_are(engine, policy):
    engine(lambda user: answered(user[-20:]))
    rows = [["Paris", f"review {n}"] for n in range(100)]

    def values(conf):
        function, _ = load_command(spec(conf={**conf, "spark.llm.planner.policy": policy}))
        return [text for out in function(iter([batch(*rows)])) for text in out.column("value").to_pylist()]

    assert values({}) == values({"spark.llm.report.dir": "/x"})
