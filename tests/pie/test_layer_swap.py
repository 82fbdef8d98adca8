"""Slots whose content rotates: every layer finds its own blocks, whatever the order of steps and copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.pie.aliased import GRANULE_BYTES, AliasedMemory, is_supported
from spark_llm.pie.copier import CopyFigures, EmulatedLink, ThreadCopier
from spark_llm.pie.layer_swap import LayerSwap
from spark_llm.pie.shared_pages import Room, most_expansion

torch = pytest.importorskip("torch")

PAGE_BYTES = 8


class PlainMemory:
    """What `AliasedMemory` is, for swapped layers without own pages: plain offsets."""

    def __init__(self, pages, page_bytes, device="cpu"):
        owners = dict.fromkeys(pages.segments(layer)[0][0] for layer in range(pages.turns.layers))
        begins = {owner: at * pages.blocks for at, owner in enumerate(owners)}
        memory = torch.zeros((len(owners) * pages.blocks, page_bytes), dtype=torch.int8, device=device)
        self.near_pages = len(memory)
        self.layers = [
            memory[begins[pages.segments(layer)[0][0]] :][: pages.blocks]
            for layer in range(pages.turns.layers)
        ]


def aliased_layers(pages, page_bytes):
    memory = AliasedMemory(pages, page_bytes)
    rows = memory.tensor().view(pages.turns.layers, memory.layer_bytes)
    return memory, [row[: pages.blocks * page_bytes].view(pages.blocks, page_bytes) for row in rows]


class Model:
    """Rows that are computed chunk by chunk, preempted, and start from one another's blocks."""

    def __init__(self, rng, layers, blocks, block_tokens=4):
        self.rng, self.layers, self.block_tokens = rng, layers, block_tokens
        self.free, self.rows = list(range(1, blocks)), []
        self.truth = torch.zeros((layers, blocks, block_tokens), dtype=torch.int8)

    def step(self):
        """(block, tokens in it that are computed, first written, end of written) of every row of a step."""
        rng, work = self.rng, []
        if self.rows and rng.random() < 0.2:
            # Preempted or finished: its blocks are somebody else's next, in any order.
            row = self.rows.pop(rng.integers(len(self.rows)))
            own = row["blocks"][row["shared"] :]
            self.free += rng.permutation(own).tolist()
        if len(self.rows) < 4:
            prefix = []
            if self.rows and rng.random() < 0.5:
                other = self.rows[rng.integers(len(self.rows))]
                full = [
                    b
                    for at, b in enumerate(other["blocks"])
                    if (at + 1) * self.block_tokens <= other["tokens"]
                ]
                prefix = full[: other["shared"]] or []
                if not prefix and full:
                    # Kept for good: the model shares blocks that are never freed.
                    other["shared"] = len(full)
                    prefix = full
            self.rows.append(
                {"blocks": list(prefix), "shared": len(prefix), "tokens": len(prefix) * self.block_tokens}
            )
        for row in self.rows:
            if rng.random() < 0.3:
                continue
            count = int(rng.choice([1, 1, 1, 3, 9]))
            need = -(-(row["tokens"] + count) // self.block_tokens) - len(row["blocks"])
            if need > len(self.free):
                continue
            row["blocks"] += [self.free.pop(0) for _ in range(need)]
            work.append((row, count))
        return work


def places(work, block_tokens, tokens_of):
    """Block and place in the block of tokens, for all rows of a step."""
    tokens = [
        (row["blocks"][at // block_tokens], at % block_tokens) for row, n in work for at in tokens_of(row, n)
    ]
    found = torch.tensor(tokens, dtype=torch.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def run(pages, near, seed, steps, copier):
    """Computes steps; every layer's blocks must be what this layer has written."""
    rng = np.random.default_rng(seed)
    turns = pages.turns
    swap, model = LayerSwap(pages, copier), Model(rng, turns.layers, pages.blocks)
    size = model.block_tokens
    for _ in range(steps):
        work = model.step()
        read, written = set(), set()
        for row, count in work:
            begin, end = row["tokens"], row["tokens"] + count
            read.update(row["blocks"][: -(-begin // size)])
            written.update(row["blocks"][begin // size : -(-end // size)])
        swap.begin(np.array(sorted(read), np.int64), np.array(sorted(written), np.int64))
        new = places(work, size, lambda row, count: range(row["tokens"], row["tokens"] + count))
        all_of_rows = places(work, size, lambda row, count: range(row["tokens"] + count))
        for layer in range(turns.layers):
            values = torch.from_numpy(rng.integers(1, 100, len(new[0])).astype(np.int8))
            model.truth[layer][new] = values
            near[layer][new] = values.to(near[layer].device)
            assert torch.equal(near[layer][all_of_rows].cpu(), model.truth[layer][all_of_rows])
            swap.after(layer)
        for row, count in work:
            row["tokens"] += count
    copier.close()
    return copier.figures()


LINKS = (
    None,
    EmulatedLink(2e8, 1e-4),
    EmulatedLink(2e8, 0.0, drop_after_bytes=100_000, dropped_bytes_per_s=4e7),
)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32), layers=st.integers(5, 9), share=st.floats(0.1, 1.0), aliased=st.booleans(),
    link=st.sampled_from(LINKS),
)  # fmt: skip
def test_every_layer_finds_what_it_has_written(seed, layers, share, aliased, link):
    expansion = 1.3 + share * (most_expansion(layers) - 1.3)
    aliased = aliased and is_supported()
    page_bytes = GRANULE_BYTES if aliased else PAGE_BYTES
    pages = Room(layers, expansion, 10_000, aliased).pages(24)
    if aliased:
        memory, near = aliased_layers(pages, page_bytes)
        assert memory.near_bytes == pages.near_pages * page_bytes
        assert pages.near_pages <= layers * 24 / expansion + 1e-6
    else:
        memory = PlainMemory(pages, page_bytes)
        near = memory.layers
        assert memory.near_pages == pages.near_pages
    if not pages.turns.swapped:
        return
    copier = ThreadCopier({layer: near[layer] for layer in pages.turns.swapped}, pages.resident_blocks, link)
    run(pages, near, seed, 15, copier)


class Told:
    """A copier that says what it was told."""

    def __init__(self):
        self.told = []

    def store(self, layer, blocks):
        self.told.append(("store", layer, blocks.tolist()))

    def load(self, layer, blocks):
        if blocks.size:
            self.told.append(("load", layer, blocks.tolist()))

    def wait(self, layer):
        self.told.append(("wait", layer))

    def figures(self):
        return CopyFigures()

    def close(self):
        pass


def a_pass(swap, told, layers, read, written):
    told.told.clear()
    swap.begin(np.array(read, np.int64), np.array(written, np.int64))
    for layer in range(layers):
        swap.after(layer)
    return list(told.told)


def test_only_what_is_touched_and_away_is_copied():
    told = Told()
    pages = Room(6, 1.5, 1000, aliased=True).pages(30)
    assert (pages.resident_blocks, pages.near_pages, pages.host_pages) == (10, 120, 100)
    swap = LayerSwap(pages, told)
    # Blocks that have a page of their own in every layer move nothing.
    assert a_pass(swap, told, 6, [1, 2, 9], [9]) == []
    # New blocks are written, never loaded; the first two layers are back before the next pass.
    first = a_pass(swap, told, 6, [9], [9, 20])
    assert [each for each in first if each[0] != "wait"] == [
        ("store", 1, [20]), ("store", 2, [20]), ("store", 3, [20]), ("store", 4, [20]),
        ("load", 2, [20]), ("store", 5, [20]), ("load", 1, [20]),
    ]  # fmt: skip
    # From then on every swapped layer's block arrives once a pass, right after its slot is left.
    second = a_pass(swap, told, 6, [9, 20], [20])
    assert [each for each in second if each[0] == "load"] == [
        ("load", layer, [20]) for layer in (3, 4, 5, 2, 1)
    ]
    assert second.index(("wait", 3)) < second.index(("store", 3, [20]))
    # Steps between that do not touch the block cost nothing, and it is still where it was.
    assert a_pass(swap, told, 6, [3], [3]) == []
    third = a_pass(swap, told, 6, [20], [])
    assert [each for each in third if each[0] == "load"] == [
        ("load", layer, [20]) for layer in (3, 4, 5, 2, 1)
    ]


def test_blocks_and_pages_of_an_expansion():
    room = Room(32, 1.9, 10**6, aliased=True)
    pages = room.pages(room.blocks(32 * 1000))
    assert pages.blocks == 1900
    # All but a few of the blocks that would fit without swap still cost nothing.
    assert 0.90 < pages.resident_blocks / 1000 < 1
    plain = Room(32, 1.9, 10**6, aliased=False)
    assert plain.pages(plain.blocks(32 * 1000)).near_pages <= 32 * 1000
    # Layers that have no page of their own are away by two.
    assert plain.blocks(32 * 1000) == 32_000 // (32 - 14)


@given(
    layers=st.integers(4, 80), near_pages=st.integers(400, 50_000), expansion=st.floats(1.01, 6),
    host_pages=st.integers(0, 100_000), aliased=st.booleans(), step=st.sampled_from([1, 4]),
)  # fmt: skip
def test_blocks_fit_near_and_host_memory(layers, near_pages, expansion, host_pages, aliased, step):
    room = Room(layers, expansion, host_pages, aliased, step)
    try:
        blocks = room.blocks(near_pages)
    except ValueError:
        return
    pages = room.pages(blocks)
    assert near_pages // layers < blocks <= near_pages * expansion / layers
    assert pages.near_pages <= near_pages
    assert pages.host_pages <= host_pages
    assert pages.resident_blocks % step == 0
    for fewer in (blocks - 1, blocks // 2):
        assert room.pages(fewer).near_pages <= near_pages


def test_too_few_layers_are_refused():
    with pytest.raises(ValueError, match="more than 3 layers"):
        Room(3, 2.0, 100, aliased=True)
    assert Room(12, 9.0, 100, aliased=True).expansion == 4.0
    with pytest.raises(ValueError, match=r"10 pages of host memory .* raise spark\.llm\.swap\.hostMemory"):
        Room(12, 2.0, 10, aliased=True).blocks(1200)
    # Half of the host memory that two times the blocks would need: half of the way.
    assert Room(12, 2.0, 1474, aliased=True).blocks(1200) == 200
    assert Room(12, 2.0, 737, aliased=True).blocks(1200) == 150


def test_an_emulated_link_keeps_its_speed_and_drops():
    link = EmulatedLink(100.0, 0.5, drop_after_bytes=10, dropped_bytes_per_s=10.0)
    assert link.copy_s(100, 0) == 1.5
    assert link.copy_s(100, 10) == 10.5


def test_a_copy_that_fails_is_heard_of():
    near = torch.zeros((4, 8), dtype=torch.int8)
    copier = ThreadCopier({1: near}, 0)
    copier.store(1, np.array([9]))
    copier.load(1, np.array([1]))
    copier.close()
    with pytest.raises(RuntimeError, match="near and host memory failed"):
        copier.wait(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device at hand")
@pytest.mark.parametrize("seed", range(5))
def test_a_gpus_layers_find_what_they_have_written(seed):
    from spark_llm.pie.copier_cuda import StreamCopier

    pages = Room(9, 1.5, 1000, aliased=False).pages(24)
    near = PlainMemory(pages, PAGE_BYTES, "cuda").layers
    copier = StreamCopier({layer: near[layer] for layer in pages.turns.swapped}, pages.resident_blocks)
    assert run(pages, near, seed, 40, copier).loaded_bytes > 0
