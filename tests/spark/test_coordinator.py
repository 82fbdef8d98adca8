"""The driver's ledgers, through the messages that executors send, with a clock that the test sets."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.spark

SECOND = 1_000_000_000


class Driver:
    def __init__(self, spark, budget="1ktok", **conf):
        jvm = spark._jvm
        self.clock = jvm.org.apache.spark.sql.llm.ManualClock()
        self.at(0)
        self.state = jvm.org.apache.spark.sql.llm.CoordinatorState(self.clock)
        self.conf = {"spark.llm.budget": budget, **conf}

    def ask(self, op, **fields):
        return json.loads(self.state.answer(json.dumps({"op": op, **fields})))

    def lease(self, sizes, most_answer=10, task=1, query="q"):
        return self.ask("lease", query=query, task=task, conf=self.conf, bytes=sizes, max_answer=most_answer)

    def settle(self, lease, prompt, answer, per_byte=0.25, query="q", cached=0, least=10_000):
        usage = {"prompt": prompt, "cached": cached, "answer": answer}
        return self.ask("settle", query=query, lease=lease, per_byte=per_byte, least=least, **usage)

    def at(self, seconds):
        self.clock.set(int((5 + seconds) * SECOND))


def test_a_request_is_taken_for_a_token_a_byte_until_one_was_counted(spark):
    driver = Driver(spark)
    first = driver.lease([26] * 20)  # and 64 for the chat template, 10 for the answer
    assert first["granted"] == 10
    assert driver.lease([26]) == {"granted": 0, "wait_s": 0.05}
    driver.settle(first["lease"], 200, 20, per_byte=0.8, least=26)
    assert driver.lease([26] * 100)["granted"] == (1000 - 220) // (21 + 10)


def test_short_prompts_after_long_ones_do_not_pass_the_budget(spark):
    """The chat template, 30 tokens here, is little beside 2,000 bytes and much beside 100."""

    def tokens(size):
        return 30 + size // 4

    driver = Driver(spark, "100ktok")
    first = driver.lease([2000] * 32, most_answer=4)
    spent = first["granted"] * (tokens(2000) + 4)
    driver.settle(
        first["lease"], first["granted"] * tokens(2000), first["granted"] * 4, tokens(2000) / 2000, least=2000
    )
    for _ in range(100):
        leases = [driver.lease([100] * 1024, most_answer=4, task=task) for task in range(4)]
        for reply in leases:
            if reply["granted"]:
                spent += reply["granted"] * (tokens(100) + 4)
                driver.settle(
                    reply["lease"],
                    reply["granted"] * tokens(100),
                    reply["granted"] * 4,
                    tokens(100) / 100,
                    least=100,
                )
    assert 99_000 < spent <= 100_000


def test_exceeded_only_when_nothing_can_come_back_and_then_for_good(spark):
    driver = Driver(spark)
    first = driver.lease([426] * 2)
    assert driver.lease([1])["granted"] == 0
    driver.settle(first["lease"], 980, 15)
    reply = driver.lease([100])
    assert reply == {"granted": 0, "exceeded": True, "spent": "995 tok", "allowed": "1ktok"}
    assert driver.lease([1])["exceeded"]
    assert driver.lease([1], query="another")["granted"] == 1


def test_a_task_that_ends_without_settling_has_spent_what_it_was_promised(spark):
    driver = Driver(spark)
    driver.lease([426], task=1)
    driver.lease([426], task=2)
    driver.state.end(1)
    driver.state.end(2)
    assert driver.lease([100], task=3)["spent"] == "1,000 tok"
    assert "is over" in driver.lease([1], task=1)["error"]


def test_lost_requests_count_in_full_and_a_lease_is_settled_once(spark):
    driver = Driver(spark)
    lost = driver.lease([426])["lease"]
    driver.ask("settle", query="q", lease=lost, lost=True)
    driver.settle(lost, 5000, 0)
    assert driver.lease([5000])["spent"] == "500 tok"


def test_time_runs_from_the_first_request(spark):
    driver = Driver(spark, "30min")
    assert driver.lease([10**6] * 50)["granted"] == 50
    driver.at(1799)
    assert driver.lease([1])["granted"] == 1
    driver.at(1800)
    assert driver.lease([1]) == {"granted": 0, "exceeded": True, "spent": "1800.0 s", "allowed": "30min"}


def test_dollars(spark):
    prices = {
        f"spark.llm.price.{name}": value
        for name, value in (("prompt", "1"), ("answer", "10"), ("cached", "0"))
    }
    driver = Driver(spark, "0.01usd", **prices)
    first = driver.lease([936] * 50, most_answer=100)
    assert first["granted"] == 5  # 1,000 tokens at 1 USD and 100 at 10 USD a million
    driver.settle(first["lease"], 5000, 100, cached=4000)
    reply = driver.lease([10**6])
    assert (reply["spent"], reply["exceeded"]) == ("0.0020 usd", True)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(500, 20_000),
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(0, 40), st.floats(0.05, 1.0)), min_size=1, max_size=60
    ),
    st.integers(1, 4),
)
def test_no_order_of_events_spends_more_than_the_bounds_are_wrong_by(spark, budget, requests, tasks):
    driver = Driver(spark, f"{budget}tok")
    under_way, spent, todo = [], 0, list(requests)
    highest = 0.0
    wrong = 0.0
    while todo:
        slice_ = todo[:8]
        reply = driver.lease([size for size, _, _ in slice_], most_answer=40, task=len(under_way) % tasks)
        if reply.get("exceeded"):
            assert not under_way
            break
        if reply["granted"]:
            rate = highest or 1.0
            sent, todo = slice_[: reply["granted"]], todo[reply["granted"] :]
            wrong += sum(max(0, int(size * ratio) - size * rate) for size, _, ratio in sent)
            under_way.append((reply["lease"], sent))
        if not reply["granted"] or len(under_way) > tasks:
            lease, sent = under_way.pop(0)
            prompt, answer = sum(int(size * ratio) for size, _, ratio in sent), sum(a for _, a, _ in sent)
            seen = max(int(size * ratio) / size for size, _, ratio in sent)
            highest = max(highest, seen)
            driver.settle(lease, prompt, answer, per_byte=seen, least=min(size for size, _, _ in sent))
            spent += prompt + answer
    assert spent <= budget + wrong + 1


def test_a_limit_spreads_requests_over_the_minute(spark):
    driver = Driver(spark)
    waits = [
        driver.ask("pace", endpoint="e", requests=1, tokens=50, rpm=60, tpm=None)["wait_s"] for _ in range(5)
    ]
    assert waits == [0, 0, 1, 2, 3]
    driver.at(100)
    assert driver.ask("pace", endpoint="e", requests=1, tokens=50, rpm=60, tpm=None)["wait_s"] == 0
    assert driver.ask("pace", endpoint="another", requests=1, tokens=9, rpm=60, tpm=None)["wait_s"] == 0


def test_the_stricter_of_both_limits_counts(spark):
    driver = Driver(spark)
    waits = [
        driver.ask("pace", endpoint="e", requests=1, tokens=600, rpm=600, tpm=6000)["wait_s"]
        for _ in range(3)
    ]
    assert waits == [0, 5, 11]


def report(driver, partition, rows, failed, *, attempt=0, done=False, partitions=2, allowed=0.2, errors=None):
    return driver.ask(
        "failures", query="q", call=7, allowed=allowed, partitions=partitions, partition=partition, attempt=attempt,
        rows=rows, failed=failed, errors=errors or [["LLM_OUTPUT_INVALID", "no number", failed]], done=done,
    )["stop"]  # fmt: skip


def test_failures_are_judged_from_a_thousand_rows_on_or_at_the_end(spark):
    driver = Driver(spark)
    assert report(driver, 0, 400, 400) is None
    assert report(driver, 1, 599, 100) is None
    assert "500 of 1,000 rows failed" in report(driver, 1, 600, 100)
    driver = Driver(spark)
    assert report(driver, 0, 5, 1, done=True) is None
    assert report(driver, 1, 5, 2) is None
    assert "3 of 10 rows failed" in report(driver, 1, 5, 2, done=True)


def test_an_attempt_replaces_the_one_before_and_a_stop_stays(spark):
    driver = Driver(spark)
    report(driver, 0, 900, 180, attempt=1)
    assert report(driver, 0, 900, 180, attempt=2) is None
    assert report(driver, 0, 1100, 800, attempt=1) is None
    stop = report(driver, 0, 1000, 201, attempt=2)
    assert stop is not None
    assert report(driver, 0, 0, 0, attempt=3, errors=[]) == stop


def test_the_five_most_frequent_errors_of_all_tasks(spark):
    driver = Driver(spark)
    errors = [
        [f"LLM_{name}", "why", count] for name, count in zip("ABCDEFG", (1, 9, 2, 8, 3, 7, 20), strict=True)
    ]
    report(driver, 0, 500, 0, errors=errors)
    stop = report(driver, 1, 500, 500, errors=errors)
    assert (
        "Most frequent: 40 x LLM_G: why; 18 x LLM_B: why; 16 x LLM_D: why; 14 x LLM_F: why; 6 x LLM_E: why."
        in stop
    )


def test_what_no_driver_understands_is_answered_all_the_same(spark):
    driver = Driver(spark)
    assert "no op 'sing'" in driver.ask("sing")["error"]
    assert "error" in json.loads(driver.state.answer("not json"))
    assert "error" in driver.ask("lease", query="q")


def test_one_task_claims_and_all_find_what_it_has_put(spark):
    driver = Driver(spark)

    def claim(task, query="q"):
        return driver.ask("claim", query=query, call="c", task=task)

    assert claim(1) == {"claimed": True}
    assert claim(1) == {"claimed": True}
    assert claim(2) == {"claimed": False}
    assert claim(3, "other query") == {"claimed": True}
    driver.ask("put", query="q", call="c", task=1, text="found")
    assert claim(2) == claim(1) == {"text": "found"}


def test_a_task_that_is_over_claims_nothing(spark):
    driver = Driver(spark)
    asks = {"query": "q", "call": "c"}
    driver.state.end(1)
    assert "task 1 is over" in driver.ask("claim", task=1, **asks)["error"]
    assert driver.ask("claim", task=2, **asks) == {"claimed": True}


@pytest.mark.parametrize("end", ["gives up", "ends", "is silent"])
def test_a_claim_ends_with_its_holder(spark, end):
    driver = Driver(spark)
    asks = {"query": "q", "call": "c"}
    driver.ask("claim", task=1, **asks)
    assert driver.ask("give_up", task=2, **asks) == {}
    assert driver.ask("claim", task=2, **asks) == {"claimed": False}
    if end == "gives up":
        driver.ask("give_up", task=1, **asks)
    elif end == "ends":
        driver.state.end(1)
    else:
        driver.at(599)
        assert driver.ask("claim", task=2, **asks) == {"claimed": False}
        driver.at(601)
    assert driver.ask("claim", task=2, **asks) == {"claimed": True}
