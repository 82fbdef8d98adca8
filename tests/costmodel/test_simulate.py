"""The simulated engine against what can be counted by hand, and against what must hold for any workload."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.costmodel.presets import H100_8B, NGRAM
from spark_llm.costmodel.simulate.acceptance import Acceptance, alternating, beta_alphas, drifting
from spark_llm.costmodel.simulate.engine import Limits, Simulation
from spark_llm.costmodel.simulate.workload import Workload, grouped
from spark_llm.costmodel.step_time import StepTime
from spark_llm.smartspec.policy import Step, StepResult

UNIT = StepTime(kv_s=0.0, token_s=0.0, sequence_s=0.0, base_s=1.0)


class StaticK:
    """The same draft length for every row; remembers what it was told."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.steps: list[Step] = []
        self.results: list[StepResult] = []
        self.released: list[int] = []

    def draft_lengths(self, step: Step) -> np.ndarray:
        self.steps.append(step)
        return np.full(len(step.slots), self.k)

    def observe(self, result: StepResult) -> None:
        self.results.append(result)

    def release(self, slots: np.ndarray) -> None:
        self.released.extend(slots.tolist())


def rows(own: list[int], output: list[int], **more: np.ndarray) -> Workload:
    return Workload(np.array(own), np.array(output), **more)


def test_prompt_in_chunks_then_decode() -> None:
    result = Simulation(rows([100], [5]), Limits(4, chunk_tokens=40), UNIT, trace=True).run()
    # 40 + 40 + 20 prompt tokens, of which the last step brings the first of five tokens.
    assert [step.prefill_tokens for step in result.trace] == [40, 40, 20, 0, 0, 0, 0]
    assert [step.kv_tokens for step in result.trace] == [0, 40, 80, 100, 101, 102, 103]
    assert (result.steps, result.generated_tokens, result.makespan_s) == (7, 5, 7.0)


def test_decoding_rows_come_before_prompts_in_the_same_step() -> None:
    result = Simulation(rows([10, 100], [20, 1]), Limits(2, chunk_tokens=20), UNIT, trace=True).run()
    assert [(step.tokens, step.prefill_tokens) for step in result.trace[:3]] == [(20, 20), (20, 19), (20, 19)]


def test_rows_wait_for_a_place_and_for_their_arrival() -> None:
    late = rows([4, 4, 4], [2, 2, 2], arrival_s=np.array([0.0, 0.0, 10.0]))
    result = Simulation(late, Limits(1), UNIT, trace=True).run()
    assert [step.start_s for step in result.trace] == [0.0, 1.0, 2.0, 3.0, 10.0, 11.0]
    assert result.rows == 3


def test_time_is_that_of_the_cost_model() -> None:
    result = Simulation(rows([64] * 9, [7] * 9), Limits(4), H100_8B, trace=True).run()
    assert result.makespan_s == pytest.approx(
        sum(H100_8B.predict(step.kv_tokens, step.tokens, step.sequences) for step in result.trace)
    )


@pytest.mark.parametrize(("alpha", "steps"), [(1.0, 1 + 5), (0.0, 1 + 20)])
def test_certain_acceptance(alpha: float, steps: int) -> None:
    policy = StaticK(3)
    acceptance = Acceptance(np.array([alpha]), drafts=8)
    result = Simulation(rows([50], [21]), Limits(1), UNIT, acceptance, seed=1).run(policy)
    assert result.steps == steps
    assert result.k_histogram.tolist() == [0, 0, 0, steps - 1, 0, 0, 0, 0, 0]
    assert result.accepted_tokens == (15 if alpha else 0)
    assert policy.released == [policy.results[0].slots[0]]


def test_accepted_tokens_follow_the_geometric_law() -> None:
    alpha, k, many = 0.7, 4, 4000
    acceptance = Acceptance(np.full(many, alpha), drafts=k)
    policy = StaticK(k)
    Simulation(rows([8] * many, [30] * many), Limits(64), UNIT, acceptance, seed=2).run(policy)
    accepted = np.concatenate([result.accepted for result in policy.results])
    expected = alpha * (1 - alpha**k) / (1 - alpha)
    assert accepted.mean() == pytest.approx(expected, rel=0.02)


def test_positions_forced_drafts_and_drift() -> None:
    positions = np.array([1.0, 0.5, 0.0])
    numbers, none = np.arange(2), np.zeros(2, dtype=np.int64)
    by_position = Acceptance(np.array([0.8, 0.4]), 3, positions)
    assert by_position.survival(numbers, none, 0) == pytest.approx(np.array([[0.8, 0.32, 0], [0.4, 0.08, 0]]))
    forced = Acceptance(np.array([0.5, 0.5]), 3, forced=lambda rows, _: rows)
    assert forced.survival(numbers, none, 0) == pytest.approx(
        np.array([[0.5, 0.25, 0.125], [1.0, 0.5, 0.25]])
    )
    drawn = by_position.draw(np.zeros(20000, int), none, 0, np.full(20000, 3), np.random.default_rng(0))
    assert np.bincount(drawn) / 20000 == pytest.approx([0.2, 0.48, 0.32], abs=0.02)
    drift = drifting(np.array([0.8, 0.8]), np.array([0.3, 0.3]), at_step=5)
    assert [drift(numbers, none, step)[0] for step in (4, 5)] == [0.8, 0.3]
    flips = alternating(0.9, 0.1, 2)
    assert [flips(numbers, none, step)[0] for step in range(5)] == [0.9, 0.9, 0.1, 0.1, 0.9]


def test_an_oracle_sees_the_truth_of_the_rows_it_decides_about() -> None:
    alphas = beta_alphas(12, 0.6, seed=3)
    seen: list[np.ndarray] = []

    class Oracle(StaticK):
        def draft_lengths(self, step: Step) -> np.ndarray:
            survival = simulation.survival()
            assert survival.shape == (len(step.slots), 5)
            seen.append(survival[:, 0])
            return (survival > 0.3).sum(axis=1)

    simulation = Simulation(rows([9] * 12, [6] * 12), Limits(4), UNIT, Acceptance(alphas, 5))
    result = simulation.run(Oracle(0))
    assert set(np.concatenate(seen)) == set(alphas)
    assert result.k_histogram.sum() == sum(map(len, seen))


def test_a_prefix_is_computed_once_and_only_in_full_blocks() -> None:
    shared = rows(
        [10] * 5, [3] * 5, nodes=np.zeros(5, int), parents=np.array([-1]), node_tokens=np.array([100])
    )
    result = Simulation(shared, Limits(8, block_tokens=16), UNIT).run()
    # Six of its blocks are full; rows that start in one step hit each other.
    assert result.hit_tokens == 4 * 96
    assert result.prefill_tokens == 5 * 110 - 4 * 96
    without = Simulation(shared, Limits(8, block_tokens=16, prefix_cache=False), UNIT).run()
    assert (without.hit_tokens, without.prefill_tokens) == (0, 550)


def test_a_long_prefix_is_hit_as_far_as_it_was_scheduled() -> None:
    shared = rows([0, 0], [1, 1], nodes=np.zeros(2, int), parents=np.array([-1]), node_tokens=np.array([96]))
    result = Simulation(shared, Limits(2, chunk_tokens=64, block_tokens=16), UNIT, trace=True).run()
    # The first row takes all 64 of the first step; in the second its last 32 are scheduled before the other
    # row is admitted, which then computes no more than the block of its last token.
    assert [step.prefill_tokens for step in result.trace] == [64, 48]
    assert result.hit_tokens == 80


def test_nested_prefixes_and_eviction_of_the_least_recently_used() -> None:
    trie = {"parents": np.array([-1, 0, 0]), "node_tokens": np.array([32, 32, 32])}
    order = rows([16] * 4, [1] * 4, nodes=np.array([1, 2, 1, 2]), **trie)
    ample = Simulation(order, Limits(1, kv_blocks=100), UNIT).run()
    assert ample.hit_tokens == 32 + 64 + 64
    # Room for one row and two blocks more: the other branch is gone before it is wanted again.
    tight = Simulation(order, Limits(1, kv_blocks=6), UNIT).run()
    assert tight.hit_tokens < ample.hit_tokens
    assert tight.hit_tokens >= 3 * 32


def test_preemption_gives_back_the_last_admitted_and_loses_no_token() -> None:
    policy = StaticK(0)
    acceptance = Acceptance(np.full(2, 0.5), 1)
    # Both prompts fit, both answers do not.
    result = Simulation(
        rows([32, 32], [40, 40]), Limits(2, kv_blocks=6, block_tokens=16), UNIT, acceptance, trace=True
    ).run(policy)
    assert result.preemptions >= 1
    assert (result.rows, result.generated_tokens) == (2, 80)
    assert result.prefill_tokens > 64
    assert len(policy.released) == 2 + result.preemptions


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 120 tokens does not fit 7 blocks of 16"):
        Simulation(rows([100], [20]), Limits(1, kv_blocks=7), UNIT)
    with pytest.raises(ValueError, match="limits must be positive"):
        Simulation(rows([1], [1]), Limits(0), UNIT)
    with pytest.raises(ValueError, match="before its parent"):
        rows([1], [1], nodes=np.array([0]), parents=np.array([0]), node_tokens=np.array([3]))
    with pytest.raises(ValueError, match="at least one prompt token"):
        rows([0], [1])


class InOrder(Acceptance):
    """Sees that rows run in the order in which they were submitted, preempted ones too."""

    def offer(self, rows: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert np.all(np.diff(rows) > 0)
        return super().offer(rows, generated)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**20),
    max_sequences=st.integers(1, 20),
    chunk_tokens=st.integers(8, 300),
    spare_blocks=st.integers(0, 40),
    k=st.integers(0, 6),
    cached=st.booleans(),
)
def test_any_workload(
    seed: int, max_sequences: int, chunk_tokens: int, spare_blocks: int, k: int, cached: bool
) -> None:
    rng = np.random.default_rng(seed)
    many = int(rng.integers(1, 40))
    parents = np.array([-1, 0, 0, 1])
    work = Workload(
        rng.integers(1, 90, many),
        rng.integers(1, 30, many),
        nodes=rng.integers(-1, 4, many),
        parents=parents,
        node_tokens=rng.integers(0, 70, 4),
    )
    longest = int((work.prompt_tokens + work.output_tokens).max()) + 6
    limits = Limits(
        max_sequences,
        chunk_tokens,
        kv_blocks=-(-longest // 16) + spare_blocks,
        prefix_cache=cached,
    )

    def once() -> Simulation:
        acceptance = InOrder(beta_alphas(many, 0.6, seed), 6)
        simulation = Simulation(work, limits, H100_8B, acceptance, NGRAM, seed, trace=True)
        simulation.run(StaticK(k))
        return simulation

    simulation = once()
    result = simulation.result
    assert result.trace == once().result.trace
    assert (result.rows, result.generated_tokens) == (many, int(work.output_tokens.sum()))
    assert all(step.tokens <= chunk_tokens and step.sequences <= max_sequences for step in result.trace)
    assert all(step.tokens > 0 for step in result.trace)
    # Whatever was looked up was found or computed, but for chunks of rows that were preempted in between.
    assert result.prefill_tokens + result.hit_tokens <= result.prompt_tokens
    if not result.preemptions:
        assert result.prefill_tokens + result.hit_tokens == result.prompt_tokens
    assert simulation._scheduler.used_blocks == 0


def test_grouped_rows_share_their_group_s_prefix() -> None:
    work = grouped(10, 0, prefix_tokens=50, own_tokens=20, output_tokens=8, groups=2)
    assert work.nodes.tolist() == [0] * 5 + [1] * 5
    assert (work.prompt_tokens - work.own_tokens).tolist() == [50] * 10
    assert (
        grouped(3, 0, prefix_tokens=0, own_tokens=20, output_tokens=8, sigma=0).own_tokens.tolist()
        == [20] * 3
    )
