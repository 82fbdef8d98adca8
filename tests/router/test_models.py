"""`models => 'small,large'` over two fake engines that differ: who is asked, what it costs, who answered."""

import json
import random
from dataclasses import replace

import pytest

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_rules import Rule
from spark_llm.engine.types import EngineRequest, Sampling
from spark_llm.errors import SparkLLMError
from spark_llm.router import Budget
from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.auto import AutoClient, AutoSettings
from spark_llm.worker.command import parse_spec, parse_type
from spark_llm.worker.first_pass import AnswerReader
from spark_llm.worker.fitted import Fitted
from spark_llm.worker.models import Arm, arms_of
from spark_llm.worker.shelf import MINE
from spark_llm.worker.zone import zone_of


class TwoEngines:
    """Routes by the model's name, as `RoutedClient` does; the small engine is unsure where it is wrong."""

    def __init__(self, small, large):
        self.engines = {"small": FakeEngine(small), "large": FakeEngine(large)}
        self.asked = {"small": [], "large": []}

    def submit(self, requests, sampling):
        self.asked[sampling.model] += requests
        assert not sampling.reasoning.figures or sampling.model == "small"
        return self.engines[sampling.model].submit(requests, sampling)


class Board:
    """A shelf of one task."""

    text = None

    def claim(self):
        return self.text or MINE

    def put(self, text):
        self.text = text

    def give_up(self):
        pass


def client(engines, board, **settings):
    reader = AnswerReader(AnswerParser(parse_type('"string"'), zone_of("UTC"), 16))
    small, large = Arm(model="small"), Arm(model="large", costly=True)
    return AutoClient(lambda: engines, small, large, reader, board, AutoSettings(**settings))


def table(hard, easy, truth):
    texts = [f"hard {n}" for n in range(hard)] + [f"easy {n}" for n in range(easy)]
    random.Random(0).shuffle(texts)
    return [EngineRequest("s", f'?\n{{"x": "{t}"}}', label=json.dumps({"v": truth[t[:4]]})) for t in texts]


def ask(auto, requests):
    return auto.submit(requests, Sampling("small", 0.0, 16, None, None)).result(30)


def spec(conf, models):
    call = {"instruction": "?", "field_names": ["x"], "return_type": '"string"', "models": models}
    return parse_spec(json.dumps({"version": 6, "call": call, "conf": conf}))


SMALL = (Rule.of("hard", "wrong", "right", 0), Rule.of("easy", "plain"))
LARGE = (Rule.of("hard", "right"), Rule.of("easy", "plain"))


@pytest.mark.parametrize("labels", [True, False])
def test_the_large_model_answers_the_rows_that_gain(labels):
    engines, board = TwoEngines(SMALL, LARGE), Board()
    rows = table(200, 600, {"hard": "right", "easy": "plain"})
    if not labels:
        rows = [replace(row, label=None) for row in rows]
    answers = ask(client(engines, board), rows)
    by_large = [a.costly for a in answers]
    assert sum(("hard" in r.user) == (a.text == "right") for r, a in zip(rows, answers, strict=True)) >= 792
    assert all(a.costly for a in answers if a.text == "right")
    assert sum(by_large) < 0.5 * len(rows)
    assert len(engines.asked["small"]) == len(rows)
    assert len(engines.asked["large"]) < 0.5 * len(rows) + 100
    assert Fitted.from_json(board.text).choice == "per_row"
    # what each has generated adds up; only answers of the large model cost tokens of it
    assert all(a.costly_tokens <= a.generated_tokens for a in answers)
    assert all(a.costly_tokens == 0 for a in answers if a.passes == 1)
    assert sum(a.costly_tokens for a in answers) == 2 * len(engines.asked["large"])
    # a second task begins with what the first has found
    again = TwoEngines(SMALL, LARGE)
    ask(client(again, board), rows)
    assert len(again.asked["large"]) < len(engines.asked["large"])


def test_a_large_model_that_is_no_better_is_asked_for_pilot_and_audit_alone():
    engines = TwoEngines(SMALL, SMALL)
    rows = table(200, 600, {"hard": "right", "easy": "plain"})
    answers = ask(client(engines, Board()), rows)
    assert len(engines.asked["large"]) <= 50 + 30
    assert sum(a.costly for a in answers) <= 50


def test_a_large_model_that_is_worse_never_answers():
    engines = TwoEngines((Rule.of("easy", "plain", "other", 0),), (Rule.of("easy", "broken"),))
    rows = table(0, 800, {"easy": "plain"})
    answers = ask(client(engines, Board()), rows)
    assert {a.text for a in answers} == {"plain"}
    assert not any(a.costly for a in answers)


def test_a_budget_counts_all_that_the_large_model_generates():
    # its answers are no longer than those of the small one: beyond them it would cost nothing
    rows = table(400, 400, {"hard": "right", "easy": "plain"})
    engines = TwoEngines(SMALL, LARGE)
    answers = ask(client(engines, Board(), budget=Budget(row_tokens=0.4), rows=800), rows)
    assert 0 < sum(a.costly_tokens for a in answers) <= 1.05 * 0.4 * 800
    assert not any(a.costly and "easy" in r.user for r, a in zip(rows, answers, strict=True))


def test_who_is_asked_comes_from_settings():
    served = {"spark.llm.engine.kind": "vllm", "spark.llm.model": "qwen/Qwen3-8B"}
    far = {"spark.llm.models.large.endpoint": "http://127.0.0.1:9/v1", "spark.llm.models.large.path": "big"}
    call, conf = spec(served | far, ["qwen/Qwen3-8B", "large"])
    cheap, costly = arms_of(call, conf)
    assert (call.model, cheap.model, cheap.costly, cheap.enforced) == ("qwen/Qwen3-8B",) * 2 + (False, True)
    assert (costly.model, costly.costly, costly.on) == ("large", True, False)
    with pytest.raises(SparkLLMError, match="LLM_MODEL_NOT_FOUND"):
        arms_of(*spec(served, ["qwen/Qwen3-8B", "other"]))
