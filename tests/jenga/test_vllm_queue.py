"""Which free block of vLLM's pool leaves first."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

BLOCKS = 12


@pytest.fixture
def pool():
    """An empty pool, its queue ours, with counts."""
    from vllm.v1.core.block_pool import BlockPool

    from spark_llm.jenga.uses import NEVER, RemainingUses
    from spark_llm.jenga.vllm_queue import UsesQueue

    found = BlockPool(BLOCKS, enable_caching=True, hash_block_size=16)
    found.uses = RemainingUses()
    found.free_block_queue = UsesQueue(found, found.uses, (NEVER, 2))
    return found


def cached(pool, *names, group=0):
    """New blocks, with what they hold."""
    from vllm.v1.core.kv_cache_utils import BlockHash, make_block_hash_with_group_id

    blocks = pool.get_new_blocks(len(names))
    for depth, (block, name) in enumerate(zip(blocks, names, strict=True), 1):
        key = make_block_hash_with_group_id(BlockHash(name), group)
        pool._insert_block_hash(key, block, num_tokens=16 * depth)
    return blocks


def leaving(pool, count):
    """What goes when so many blocks are taken, in order."""
    free = {block.block_id: block.block_hash for block in pool.free_block_queue.get_all_free_blocks()}
    taken = [pool.get_new_blocks(1)[0] for _ in range(count)]
    return [free[block.block_id][:-4] for block in taken if free[block.block_id] is not None]


def test_without_counts_it_is_vllms(pool):
    from vllm.v1.core.block_pool import BlockPool

    stock, rng = BlockPool(BLOCKS, enable_caching=True, hash_block_size=16), random.Random(2)
    used = []
    for step in range(400):
        if rng.random() < 0.5 and stock.get_num_free_blocks():
            count = rng.randint(1, min(3, stock.get_num_free_blocks()))
            names = [b"%d" % (step * 10 + at) for at in range(count)]
            made = [[block.block_id for block in cached(each, *names)] for each in (stock, pool)]
            assert made[0] == made[1]
            used.append(made[0])
        elif used:
            ids = used.pop(rng.randrange(len(used)))[::-1]
            for each in (stock, pool):
                each.free_blocks([each.blocks[at] for at in ids])
        assert stock.get_num_free_blocks() == pool.get_num_free_blocks()
    assert pool.free_block_queue.kept_blocks == 0


def test_what_rows_will_read_leaves_last_the_furthest_first(pool):
    from spark_llm.jenga.uses import Told

    pool.uses.arrive("first", "w", [b"i", b"f"], [Told(1, 9, 2), Told(2, 1, 40)])
    pool.free_blocks(cached(pool, b"i", b"f")[::-1])
    pool.uses.finish("first")
    pool.free_blocks(cached(pool, *(b"%d" % at for at in range(BLOCKS - 3))))
    assert leaving(pool, BLOCKS - 1) == [*(b"%d" % at for at in range(BLOCKS - 3)), b"f", b"i"]


def test_blocks_that_are_free_already_are_kept_from_when_rows_come_and_until_they_go(pool):
    from spark_llm.jenga.uses import IDLE_ROWS, Told

    old, other = cached(pool, b"i", b"o")
    windowed = cached(pool, b"i", group=1)
    pool.free_blocks([old, other, *windowed])
    pool.uses.arrive("row", "w", [b"i"], [Told(1, 1, 1)])
    assert pool.free_block_queue.kept_blocks == 2
    pool.touch([old])
    assert pool.free_block_queue.kept_blocks == 1
    pool.free_blocks([old])
    pool.uses.finish("row")
    assert pool.free_block_queue.kept_blocks == 2
    for number in range(IDLE_ROWS + 1):
        pool.uses.arrive(str(number), "", [], [])
    # Nobody comes for them: they leave before what may be of use.
    assert pool.free_block_queue.kept_blocks == 0
    left = leaving(pool, BLOCKS - 1)
    assert left.index(b"i") < left.index(b"o")


def test_a_window_needs_what_lies_right_before_a_place_to_resume(pool):
    from spark_llm.jenga.uses import Told

    names = [b"a", b"b", b"c", b"d"]
    pool.uses.arrive("row", "w", names, [Told(4, 3, 1)])
    pool.free_blocks(cached(pool, *names, group=1)[::-1])
    # Two blocks of the window lie before the junction; the others serve nobody.
    assert pool.free_block_queue.kept_blocks == 2
    pool.uses.arrive("other", "w", names, [Told(2, 3, 1), Told(4, 2, 1)])
    assert pool.free_block_queue.kept_blocks == 4


def test_one_of_two_blocks_with_the_same_content_is_kept(pool):
    from spark_llm.jenga.uses import Told

    pool.uses.arrive("row", "w", [b"i"], [Told(1, 1, 1)])
    pool.free_blocks([*cached(pool, b"i"), *cached(pool, b"i")])
    assert pool.free_block_queue.kept_blocks == 1
    assert pool.get_num_free_blocks() == BLOCKS - 1


def test_an_emptied_cache_keeps_nothing(pool):
    from spark_llm.jenga.uses import Told

    pool.uses.arrive("row", "w", [b"i"], [Told(1, 1, 1)])
    pool.free_blocks(cached(pool, b"i"))
    assert pool.reset_prefix_cache()
    pool.free_block_queue.let_go()
    assert pool.free_block_queue.kept_blocks == 0
    assert len(pool.get_new_blocks(BLOCKS - 1)) == BLOCKS - 1


def test_many_operations_leave_nothing_behind(pool):
    from spark_llm.jenga.uses import Told

    rng, used, rows, came = random.Random(4), [], [], 0
    for _ in range(3000):
        free = pool.get_num_free_blocks()
        kept = pool.free_block_queue.kept_blocks
        match rng.randrange(4):
            case 0 if free:
                known = {block.block_hash[:-4]: block for block in
                         pool.free_block_queue.get_all_free_blocks() if block.block_hash}  # fmt: skip
                name = b"%d" % rng.randrange(30)
                if name in known:
                    pool.touch([known[name]])
                    used.append(known[name])
                else:
                    wanted = {key: pool.uses.of(key) for key in known}
                    used += cached(pool, name)
                    gone = known.keys() - {
                        block.block_hash[:-4] for block in pool.free_block_queue.get_all_free_blocks()
                        if block.block_hash
                    }  # fmt: skip
                    for key in gone:
                        # A block in use with the same content serves those who come.
                        if wanted[key].uses and not any(
                            block.block_hash and block.block_hash[:-4] == key for block in used
                        ):
                            # Nothing was left that nobody wants, and nothing is wanted later.
                            assert free == kept
                            assert wanted[key].next_use == max(use.next_use for use in wanted.values())
            case 1 if used:
                pool.free_blocks([used.pop(rng.randrange(len(used)))])
            case 2:
                came += 1
                plan, name = f"w{rng.randrange(3)}", b"%d" % rng.randrange(30)
                pool.uses.arrive(f"r{came}", plan, [name], [Told(1, rng.randrange(3), rng.randint(1, 50))])
                rows.append(f"r{came}")
            case 3 if rows:
                pool.uses.finish(rows.pop(rng.randrange(len(rows))))
        assert pool.get_num_free_blocks() == BLOCKS - 1 - len(used)
        assert len(pool.free_block_queue.get_all_free_blocks()) == pool.get_num_free_blocks()
