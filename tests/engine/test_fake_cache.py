"""The fake engine's prefix cache against another writing of the same rules: lists of texts, searched slowly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.conf import parse_conf
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_cache import PrefixCache
from spark_llm.engine.types import EngineRequest, Sampling

BLOCK = 128


class SlowCache:
    """Texts up to each block's end, the least recently used first."""

    def __init__(self, blocks, lag):
        self.blocks, self.lag, self.asked, self.kept = blocks, lag, 0, []

    def cached_tokens(self, prompt):
        self.asked += 1
        tokens = -(-len(prompt) // 4)
        ends = [prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)]
        hits = 0
        for number, text in enumerate(ends, 1):
            here = [written for kept, written in self.kept if kept == text]
            # The last token is computed in any case: its block is no hit.
            if not here or here[0] + self.lag >= self.asked or number * 32 >= tokens:
                break
            hits += 1
        for text in reversed(ends):
            written = next((w for kept, w in self.kept if kept == text), self.asked)
            self.kept = [pair for pair in self.kept if pair[0] != text] + [(text, written)]
        self.kept = self.kept[len(self.kept) - self.blocks :] if len(self.kept) > self.blocks else self.kept
        return hits * 32


# Few different blocks, so that prompts share; lengths around the blocks' ends.
PROMPTS = st.lists(
    st.tuples(st.lists(st.sampled_from("ab"), max_size=5), st.integers(0, BLOCK - 1)), max_size=40
)


@given(PROMPTS, st.integers(0, 8), st.integers(0, 6))
def test_counts_as_the_slow_cache_does(prompts, blocks, lag):
    fast, slow = PrefixCache(blocks * 32, lag), SlowCache(blocks, lag)
    for letters, rest in prompts:
        prompt = "".join(letter * BLOCK for letter in letters) + "c" * rest
        assert fast.cached_tokens(prompt) == slow.cached_tokens(prompt)


def test_whole_blocks_and_never_the_last_token():
    cache = PrefixCache()
    assert [cache.cached_tokens("x" * length) for length in (256, 256, 257, 300, 100)] == [0, 32, 64, 64, 0]


def test_blocks_are_found_only_after_the_lag():
    cache = PrefixCache(lag=2)
    prompt = "x" * 200
    assert [cache.cached_tokens(prompt) for _ in range(4)] == [0, 0, 0, 32]


def test_the_least_recently_used_prompt_is_dropped_first():
    cache = PrefixCache(capacity_tokens=4 * 32)
    a, b, c = ("abc"[at] * 300 for at in range(3))
    assert [cache.cached_tokens(prompt) for prompt in (a, b, a, c)] == [0, 0, 64, 0]
    # c took the place of b; a is the older one of the two that are left.
    assert [cache.cached_tokens(prompt) for prompt in (a, b)] == [64, 0]


@pytest.mark.parametrize(
    ("conf", "cached"),
    [
        ({}, [0, 0, 64, 64]),
        ({"spark.llm.fake.lag": "2"}, [0, 0, 0, 64]),
        ({"spark.llm.fake.cacheSize": "70"}, [0, 0, 0, 64]),
        ({"spark.llm.fake.cacheSize": "0"}, [0, 0, 0, 0]),
    ],
)
def test_conf_sets_size_and_lag(conf, cached):
    engine = FakeEngine.from_conf(parse_conf(conf))
    asked = [EngineRequest("", text * 300) for text in "abaa"]
    answers = engine.submit(asked, Sampling(None, 0.0, 8, None, None)).result()
    assert [answer.cached_prompt_tokens for answer in answers] == cached


def test_requests_are_taken_by_priority_and_answered_in_order():
    engine = FakeEngine()
    asked = [EngineRequest("", text * 300, priority) for text, priority in (("a", 2), ("b", 3), ("a", 1))]
    answers = engine.submit(asked, Sampling(None, 0.0, 8, None, None)).result()
    assert [answer.cached_prompt_tokens for answer in answers] == [64, 0, 0]
