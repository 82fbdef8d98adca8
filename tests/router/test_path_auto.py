"""`reasoning => 'auto'` over the fake engine: pilot, routing, budget, sharing and failure, without Spark."""

import json
import random
import threading
from concurrent.futures import CancelledError, Future
from dataclasses import replace

import pytest

from spark_llm.conf import parse_conf
from spark_llm.engine.answers import from_error
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_rules import Rule
from spark_llm.engine.types import EngineAnswer, EngineRequest, Reasoning, Sampling
from spark_llm.errors import SparkLLMError, request_rejected
from spark_llm.router import Budget
from spark_llm.router.text import TextClassifier
from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.auto import AutoClient, AutoSettings, merged
from spark_llm.worker.by_text import published
from spark_llm.worker.command import parse_type
from spark_llm.worker.first_pass import AnswerReader, row_text
from spark_llm.worker.fitted import Fitted
from spark_llm.worker.shelf import EXPIRY_S, MINE, LocalShelf
from spark_llm.worker.zone import zone_of

RIGHT, WRONG, PLAIN = "right", "wrong", "plain"
RULES = (Rule.of("hard", WRONG, RIGHT, 30), Rule.of("easy", PLAIN, PLAIN, 20))


class Recorder:
    """The fake engine, and what it was asked."""

    def __init__(self, rules=RULES, fail_on=None):
        self.engine, self.asked, self.fail_on = FakeEngine(rules), [], fail_on

    def submit(self, requests, sampling):
        self.asked.append((list(requests), sampling))
        future = self.engine.submit(requests, sampling)
        if self.fail_on is None or not sampling.reasoning.on:
            return future
        failed = Future()
        failed.set_result([
            from_error(request_rejected("no")) if self.fail_on in request.user else answer
            for request, answer in zip(requests, future.result(), strict=True)
        ])  # fmt: skip
        return failed

    def close(self):
        self.engine.close()

    @property
    def on(self):
        return sum(len(requests) for requests, sampling in self.asked if sampling.reasoning.on)


class Board:
    """A shelf in memory."""

    def __init__(self):
        self.text, self.holder, self.gave_up = None, None, 0

    def claim(self):
        if self.text is None and self.holder in {None, "me"}:
            self.holder = "me"
            return MINE
        return self.text

    def put(self, text):
        self.text = text

    def give_up(self):
        self.holder, self.gave_up = None, self.gave_up + 1


def auto(engine, board=None, kind='"string"', **settings):
    reader = AnswerReader(AnswerParser(parse_type(kind), zone_of("UTC"), 16))
    return AutoClient(
        lambda: engine, Reasoning(), Reasoning(on=True, budget_tokens=200), reader, board or Board(),
        AutoSettings(**settings), sleep=lambda _: None,
    )  # fmt: skip


def rows(hard, easy, labels=False, seed=0):
    texts = [f"hard {n}" for n in range(hard)] + [f"easy {n}" for n in range(easy)]
    random.Random(seed).shuffle(texts)
    label = {"hard": RIGHT, "easy": PLAIN}
    return [
        EngineRequest(
            "s", f'?\n{{"x": "{text}"}}', label=json.dumps({"v": label[text[:4]]}) if labels else None
        )
        for text in texts
    ]


def ask(client, requests):
    return client.submit(requests, Sampling(None, 0.0, 16, None, None)).result(30)


def accuracy(requests, answers):
    return sum(
        a.text == (RIGHT if "hard" in r.user else PLAIN) for r, a in zip(requests, answers, strict=True)
    )


@pytest.mark.parametrize("labels", [False, True])
def test_only_rows_that_gain_think(labels):
    engine, board, table = Recorder(), Board(), rows(200, 600, labels)
    answers = ask(auto(engine, board), table)
    assert accuracy(table, answers) >= 0.99 * len(table)
    assert engine.on < 0.6 * len(table)
    fitted = Fitted.from_json(board.text)
    assert fitted.choice == "per_row"
    assert fitted.low <= 0.25 <= fitted.high
    assert fitted.basis == ("labels" if labels else "agreement")
    assert all(a.reasoned for r, a in zip(table, answers, strict=True) if a.text == RIGHT)
    assert all(a.passes >= 2 and a.thinking_tokens for a in answers if a.reasoned)


def test_labels_are_told_to_no_engine_and_make_the_pilot_cheap():
    engine = Recorder()
    ask(auto(engine), rows(30, 60, labels=True))
    assert all(sampling.temperature == 0 for _, sampling in engine.asked)
    assert all(
        RIGHT not in request.user + request.system for requests, _ in engine.asked for request in requests
    )


def test_a_query_that_gains_nothing_hardly_thinks():
    engine, table = Recorder(), rows(0, 900)
    answers = ask(auto(engine), table)
    assert accuracy(table, answers) == len(table)
    assert engine.on <= 2 * 50 + 30
    assert not any(a.reasoned for a in answers)


def test_a_query_that_always_gains_always_thinks():
    engine, table = Recorder(), rows(400, 0)
    answers = ask(auto(engine), table)
    assert accuracy(table, answers) >= 0.99 * len(table)


def test_the_budget_of_the_query_holds():
    engine, table = Recorder(), rows(400, 400)
    answers = ask(auto(engine, budget=Budget(row_tokens=6.0)), table)
    routed = [a for a in answers if a.reasoned and a.passes == 2]
    assert routed
    # The pilot's rows come on top; they are known before there is anything to route.
    assert sum(a.thinking_tokens for a in routed) <= 1.05 * 6.0 * len(table)


def test_what_was_fitted_is_used_by_other_tasks_and_by_the_next_run():
    board, table = Board(), rows(100, 300)
    ask(auto(Recorder(), board), table)
    for client_of in (lambda e: auto(e, board), lambda e: auto(e, Board(), remembered=board.text)):
        engine = Recorder()
        answers = ask(client_of(engine), table)
        assert accuracy(table, answers) >= 0.99 * len(table)
        assert all(sampling.temperature == 0 for _, sampling in engine.asked)
        assert engine.on < 0.6 * len(table)


def test_rows_whose_second_pass_fails_keep_their_first_answer():
    table = rows(200, 200)
    answers = ask(auto(Recorder(fail_on="hard 7")), table)
    assert not any(a.condition for a in answers)
    for request, answer in zip(table, answers, strict=True):
        if "hard 7" in request.user:
            assert (answer.text, answer.reasoned) == (WRONG, False)


def test_thinking_that_was_cut_off_is_counted_and_no_answer():
    first = EngineAnswer("a", None, None, 9, 0, 1, "stop")
    cut = EngineAnswer(
        "b", None, None, 9, 5, 30, "stop", thinking_tokens=29, thinking_cut=True, reasoned=True
    )
    both = merged(first, cut)
    assert (both.text, both.reasoned, both.thinking_cut, both.other_thinking_cut) == ("a", False, False, True)
    assert (both.generated_tokens, both.prompt_tokens, both.passes) == (31, 18, 2)
    whole = merged(first, replace(cut, thinking_cut=False))
    assert (whole.text, whole.reasoned, whole.generated_tokens) == ("b", True, 31)


def test_a_hot_draw_of_the_pilot_is_never_an_answer():
    class Cuts(Recorder):
        """Right at once; every third row's thinking is cut off, with or without some text after it."""

        def submit(self, requests, sampling):
            self.asked.append((list(requests), sampling))
            future, hot = Future(), sampling.temperature > 0
            future.set_result([self.answer(each.user, sampling.reasoning.on, hot) for each in requests])
            return future

        def answer(self, user, on, hot):
            number = int(user.split()[-1].rstrip('"}'))
            cut = on and number % 3 == 0
            text = "draw" if hot else ("", "cut")[number % 2] if cut else PLAIN
            thinking = 30 * on
            return EngineAnswer(
                text, None, None, 9, 0, thinking + 1, "stop",
                thinking_tokens=thinking, thinking_cut=cut, reasoned=on,
            )  # fmt: skip

    engine, table = Cuts(), rows(0, 90)
    answers = ask(auto(engine), table)
    assert [answer.text for answer in answers] == [PLAIN] * 90
    drawn = [answer for answer in answers if answer.passes == 3]
    assert sum(sampling.temperature > 0 for _, sampling in engine.asked) == 1
    assert drawn
    assert all(one.generated_tokens == 63 and one.other_thinking_cut for one in drawn)


def test_an_audit_that_takes_the_router_back_meanwhile_loses_no_row():
    board, table = Board(), rows(60, 60)
    ask(auto(Recorder(), board), table)
    client = auto(Recorder(), remembered=board.text)
    ask(client, table)

    class Racing(AutoClient):
        reads = 0

        @property
        def _fitted(self):
            self.reads += 1
            return self.kept if self.reads == 1 else None

        @_fitted.setter
        def _fitted(self, fitted):
            self.kept = fitted

    client.__class__, fitted = Racing, client.__dict__.pop("_fitted")
    client.kept = fitted
    assert accuracy(table, ask(client, table)) >= 118
    # Taken back before there was anything to read, and nothing put in its place: the first pass answers.
    client.kept, client._decide = None, lambda job: {}
    assert [each.text for each in ask(client, table)] == [
        WRONG if "hard" in request.user else PLAIN for request in table
    ]


def test_the_pilot_waits_for_the_task_that_is_at_it():
    board, engine, waits = Board(), Recorder(), []
    board.holder = "another"
    client = auto(engine, board)

    def sleep(_):
        waits.append(1)
        if len(waits) == 3:
            other = Board()
            ask(auto(Recorder(), other), rows(100, 100))
            board.text = other.text

    client._sleep = sleep
    table = rows(50, 50)
    assert accuracy(table, ask(client, table)) >= 98
    assert len(waits) == 3


def test_a_few_rows_do_not_wait_for_ever_for_the_pilot_of_another_task():
    board, engine, table = Board(), Recorder(), rows(5, 5)
    board.holder = "another"
    client = auto(engine, board)
    answers = ask(client, table)
    assert [each.text for each in answers] == [WRONG if "hard" in r.user else PLAIN for r in table]
    assert not any(each.reasoned for each in answers)
    assert [each.passes for each in answers] == [1] * 10
    # The task's next rows ask again.
    board.holder = None
    assert accuracy(table, ask(client, table)) == 10


def test_a_task_that_ends_without_a_pilot_gives_its_claim_back():
    board = Board()
    auto(Recorder(), board).close()
    assert board.gave_up == 1


def test_a_cancelled_job_takes_its_requests_along():
    started, inner = threading.Event(), Future()

    class Slow:
        def submit(self, requests, sampling):
            started.set()
            return inner

    future = auto(Slow()).submit(rows(1, 1), Sampling(None, 0.0, 16, None, None))
    assert started.wait(10)
    assert future.cancel()
    assert inner.cancelled()
    with pytest.raises(CancelledError):
        future.result(1)


def test_an_engine_that_fails_fails_the_job():
    class Broken:
        def submit(self, requests, sampling):
            future = Future()
            future.set_exception(RuntimeError("gone"))
            return future

    with pytest.raises(RuntimeError, match="gone"):
        ask(auto(Broken()), rows(1, 1))


def test_an_endpoint_without_log_probabilities_is_asked_without():
    class Strict(Recorder):
        def submit(self, requests, sampling):
            if sampling.reasoning.figures:
                self.asked.append((requests, sampling))
                future = Future()
                future.set_result([from_error(request_rejected("logprobs is not supported"))] * len(requests))
                return future
            return super().submit(requests, sampling)

    engine, table = Strict(), rows(60, 60)
    answers = ask(auto(engine), table)
    assert not any(a.condition for a in answers)
    assert sum(sampling.reasoning.figures for _, sampling in engine.asked) == 1


def test_a_router_that_no_longer_fits_is_fitted_anew():
    board, other = Board(), Board()
    ask(auto(Recorder(), board), rows(0, 400))
    before, engine = board.text, Recorder()
    client = auto(engine, other, remembered=before)
    for seed in range(12):
        ask(
            client, [replace(r, user=r.user.replace("hard", f"hard {seed}")) for r in rows(500, 0, seed=seed)]
        )
    assert other.text is not None
    assert Fitted.from_json(other.text).gain > 0.9


@pytest.mark.parametrize(
    ("kind", "answer", "label", "equal"),
    [
        ('"string"', "Yes ", '{"v":"yes"}', True),
        ('"boolean"', "Yes", '{"v":true}', True),
        ('"integer"', "13", '{"v":13}', True),
        ('"integer"', "13", '{"v":14}', False),
        ('"integer"', "many", '{"v":14}', False),
        ('"integer"', "13", "{}", False),
    ],
)
def test_answers_and_labels_are_compared_as_values(kind, answer, label, equal):
    reader = AnswerReader(AnswerParser(parse_type(kind), zone_of("UTC"), 16))
    value = reader.answer(EngineAnswer(answer, None, None, 1, 0, 1, "stop"))
    assert (value is not None and value == reader.label(label)) == equal


def test_the_instruction_is_no_part_of_a_rows_text():
    assert row_text(EngineRequest("s", 'Is it\ngood?\n{"x": 1}')) == '{"x": 1}'
    assert row_text(EngineRequest("s", "no row")) == "no row"


def test_a_local_claim_ends_when_its_holder_is_silent():
    now = [0.0]
    one, other = (LocalShelf("claims", lambda: now[0]) for _ in range(2))
    assert one.claim() is MINE
    assert one.claim() is MINE
    assert other.claim() is None
    now[0] = EXPIRY_S + 1
    assert other.claim() is MINE
    one.give_up()
    assert one.claim() is None
    other.put("text")
    assert one.claim() == "text"


def test_what_is_kept_is_read_again_and_nothing_else():
    board = Board()
    ask(auto(Recorder(), board), rows(100, 100))
    assert Fitted.from_json(board.text).to_json() == board.text
    for text in ("{}", '{"version": 1}', "[]", '{"version": 99}'):
        with pytest.raises(ValueError, match="fitted router"):
            Fitted.from_json(text)


def test_small_slices_gather_one_pilot():
    board, engine, table = Board(), Recorder(), rows(60, 60)
    client = auto(engine, board)
    answers = [answer for at in range(0, 120, 20) for answer in ask(client, table[at : at + 20])]
    assert accuracy(table, answers) >= 118
    assert Fitted.from_json(board.text).rows == 50


def test_a_table_too_small_for_a_pilot_is_fitted_at_its_end():
    board, table = Board(), rows(15, 15)
    client = auto(Recorder(), board)
    assert accuracy(table, ask(client, table)) == 30
    assert board.text is None
    client.close()
    assert Fitted.from_json(board.text).rows == 30


def test_what_cannot_be_read_is_fitted_anew():
    board, table = Board(), rows(60, 60)
    assert accuracy(table, ask(auto(Recorder(), board, remembered="{}"), table)) >= 118
    assert Fitted.from_json(board.text).rows == 50


def test_by_text_each_row_is_asked_once():
    board, engine, table = Board(), Recorder(), rows(200, 400)
    answers = ask(auto(engine, board, policy="text"), table)
    assert accuracy(table, answers) >= 0.99 * len(table)
    assert sum(answer.passes == 1 for answer in answers) == len(table) - 50
    assert engine.on <= 2 * 50 + 200
    again = Recorder()
    assert accuracy(table, ask(auto(again, remembered=board.text, policy="text"), table)) >= 0.99 * len(table)
    assert again.on <= 200


def test_the_published_policy_needs_no_pilot(tmp_path):
    texts = [f"{word} {n}" for word in ("hard", "easy") for n in range(40)]
    file = tmp_path / "subjects.safetensors"
    TextClassifier.fit(texts, ["math"] * 40 + ["history"] * 40).save(file)
    conf = {"spark.llm.reasoning.classifier": str(file)}
    engine, table = Recorder(), rows(100, 100)
    answers = ask(auto(engine, policy="semantic_router", published=published(parse_conf(conf))), table)
    assert accuracy(table, answers) == len(table)
    assert engine.on == 100
    other = published(parse_conf(conf | {"spark.llm.reasoning.categories": '{"history": true}'}))
    engine = Recorder()
    ask(auto(engine, policy="semantic_router", published=other), table)
    assert [requests for requests, sampling in engine.asked if sampling.reasoning.on] == [
        [request for request in table if "easy" in request.user]
    ]
    for path in ({}, {"spark.llm.reasoning.classifier": str(tmp_path / "none")}):
        with pytest.raises(SparkLLMError, match="LLM_INVALID_CONF.*TextClassifier"):
            published(parse_conf(path))


def test_the_budget_of_tokens_knows_how_much_a_row_may_take():
    assert auto(Recorder()).most_tokens(Sampling(None, 0.0, 16, None, None)) == 16 + 2 * (16 + 200)


def test_settings_reach_the_client(monkeypatch):
    from spark_llm.worker import auto_open
    from spark_llm.worker.command import parse_spec
    from spark_llm.worker.reasoning import modes_of

    call, conf = parse_spec(json.dumps({
        "version": 6,
        "call": {"instruction": "?", "field_names": ["x"], "return_type": '"string"', "reasoning": "auto",
                 "reasoning_budget": 77, "router_key": "k", "rows": 10},
        "conf": {"spark.llm.engine.kind": "fake", "spark.llm.reasoning.budget": "2.5"},
    }))  # fmt: skip
    client = auto_open.open_auto(
        call, conf, {}, modes_of(call, conf), AnswerParser(call.return_type, zone_of("UTC"), 9)
    )
    assert client._settings == AutoSettings("cascade", Budget(row_tokens=2.5), 10, "k", None)
    assert client._on.budget_tokens == 77
    off = parse_conf({"spark.llm.engine.kind": "fake"})
    plain = replace(call, reasoning=None)
    assert auto_open.open_auto(plain, off, {}, modes_of(plain, off), None) is None
