import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.jenga.layers import Image, TokenPolicy, longest_prefix, policy_of
from spark_llm.jenga.specs import KVSpec, LayerType

BLOCK = 4


def spec(kind, window=0):
    size = {"state_bytes": 8} if kind is LayerType.STATE_SPACE else {"token_bytes": 8}
    return KVSpec(kind, 1, window_tokens=window, **size)


TOKEN_SPECS = st.one_of(
    st.just(spec(LayerType.FULL)),
    st.just(spec(LayerType.STATE_SPACE)),
    st.integers(1, 40).map(lambda window: spec(LayerType.SLIDING_WINDOW, window)),
    st.integers(1, 10).map(lambda chunk: spec(LayerType.CHUNKED, chunk * BLOCK)),
)


def needed(of, computed):
    """Tokens that the next one looks at, by the definition of the type."""
    match of.type:
        case LayerType.SLIDING_WINDOW:
            return {at for at in range(computed) if computed - at < of.window_tokens}
        case LayerType.CHUNKED:
            return {at for at in range(computed) if at // of.window_tokens == computed // of.window_tokens}
        case LayerType.STATE_SPACE:
            return {computed - 1} - {-1}
        case _:
            return set(range(computed))


@settings(deadline=None)
@given(TOKEN_SPECS, st.integers(0, 120))
def test_active_pages_are_those_of_the_needed_tokens(of, computed):
    policy = TokenPolicy(of, BLOCK)
    pages = {at // BLOCK for at in needed(of, computed)}
    active = policy.active_pages(computed)
    assert pages <= set(active)
    assert len(active) <= policy.peak_pages(computed) or of.type is LayerType.STATE_SPACE
    # What lies between is at most the page that the next token begins in.
    assert len(set(active) - pages) <= 1


@settings(deadline=None)
@given(st.lists(TOKEN_SPECS, min_size=1, max_size=4), st.data())
def test_the_longest_prefix_is_that_of_brute_force(specs, data):
    pages = data.draw(st.integers(0, 16))
    hits = [data.draw(st.lists(st.booleans(), min_size=pages, max_size=pages)) for _ in specs]
    offsets = [at * BLOCK for at in range(pages + 1)]

    def possible(of, cached, offset):
        return all(cached[token // BLOCK] for token in needed(of, offset))

    for of, cached in zip(specs, hits, strict=True):
        found = policy_of(of, BLOCK).possible_prefix(cached, offsets)
        assert found == [possible(of, cached, offset) for offset in offsets]
    expected = max(
        offset
        for offset in offsets
        if all(possible(of, cached, offset) for of, cached in zip(specs, hits, strict=True))
    )
    policies = [policy_of(of, BLOCK) for of in specs]
    assert longest_prefix(policies, hits, offsets) == expected


def test_pages_of_different_sizes_agree_on_common_offsets():
    policies = [TokenPolicy(spec(LayerType.FULL), 4), TokenPolicy(spec(LayerType.SLIDING_WINDOW, 8), 8)]
    assert longest_prefix(policies, [[True] * 5 + [False], [False, True, True]], [0, 8, 16, 24]) == 16
    assert longest_prefix(policies, [[True] * 6, [False, True, False]], [0, 8, 16, 24]) == 16


IMAGES = (Image(8, 2), Image(24, 1))


@pytest.mark.parametrize(
    ("hits", "longest"),
    [([True, True, True], 32), ([True, True, False], 24), ([True, False, True], 8), ([True], 8)],
)
def test_a_prefix_ends_before_the_first_image_that_is_not_whole(hits, longest):
    policy = policy_of(spec(LayerType.CROSS_ATTENTION), BLOCK, IMAGES)
    assert longest_prefix([policy], [hits], range(0, 33, 8)) == longest


def test_cross_attention_keeps_all_images_and_embeddings_only_what_comes():
    cross = policy_of(spec(LayerType.CROSS_ATTENTION), BLOCK, IMAGES)
    cache = policy_of(spec(LayerType.ENCODER_CACHE), BLOCK, IMAGES)
    assert [list(cross.active_pages(at)) for at in (0, 30)] == [[0, 1, 2]] * 2
    assert [list(cache.active_pages(at)) for at in (0, 8, 9, 30)] == [[0, 1, 2], [0, 1, 2], [2], []]
    assert cache.possible_prefix([False], [0, 8]) == [True, True]


def test_an_image_leaves_as_one_and_the_end_of_a_prefix_first():
    cross = policy_of(spec(LayerType.CROSS_ATTENTION), BLOCK, IMAGES)
    assert cross.eviction_key(5, 0) == cross.eviction_key(5, 1) > cross.eviction_key(5, 2)
    with pytest.raises(ValueError, match="page 3 of 3"):
        cross.eviction_key(5, 3)
    full, window = TokenPolicy(spec(LayerType.FULL), 4), TokenPolicy(spec(LayerType.SLIDING_WINDOW, 8), 8)
    assert full.eviction_key(5, 1) > full.eviction_key(5, 2) > full.eviction_key(4, 0)
    # Pages that end at the same token are worth the same in all types.
    assert full.eviction_key(5, 3) == window.eviction_key(5, 1)
