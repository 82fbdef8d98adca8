"""Slots of the block tier: what is read is what was written last, or nothing."""

from __future__ import annotations

import errno
import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.pie.chunks import CheckedSlots, FileStore, MemoryStore

SLOTS, SLOT_BYTES = 4, 64


def page(value, size=SLOT_BYTES):
    return np.full(size, value, dtype=np.uint8)


@pytest.fixture(params=["memory", "file"])
def slots(request, tmp_path):
    store = MemoryStore(SLOTS, SLOT_BYTES) if request.param == "memory" else FileStore(tmp_path, SLOT_BYTES)
    yield CheckedSlots(store, SLOTS)
    store.close()


def test_a_slot_gives_back_what_was_written_last(slots):
    found = page(0)
    assert not slots.read(2, found)
    for value in (7, 9):
        assert slots.write(2, page(value))
        assert slots.read(2, found)
        assert set(found) == {value}
    slots.forget(2)
    assert not slots.read(2, found)
    short = page(0, 10)
    assert slots.write(0, page(3, 10))
    assert slots.read(0, short)
    assert set(short) == {3}


def test_a_bit_that_changed_is_a_bad_block_once_and_then_an_empty_slot(slots):
    for slot in (1, 2):
        assert slots.write(slot, page(5))
    if isinstance(slots.store, MemoryStore):
        slots.store.slots[1, 60] ^= 1
    else:
        os.pwrite(slots.store.descriptor, b"\x04", SLOT_BYTES + 60)
    assert not slots.read(1, page(0))
    assert not slots.read(1, page(0))
    assert slots.read(2, page(0))
    assert slots.write(1, page(6))
    assert slots.read(1, page(0))


def test_a_file_that_was_cut_short_loses_what_lay_behind_the_cut(tmp_path):
    slots = CheckedSlots(FileStore(tmp_path, SLOT_BYTES), SLOTS)
    for slot in range(SLOTS):
        slots.write(slot, page(slot))
    os.ftruncate(slots.store.descriptor, 2 * SLOT_BYTES + 10)
    assert [slots.read(slot, page(0)) for slot in range(SLOTS)] == [True, True, False, False]
    # The file grows again, and zeros in it are not taken for pages.
    assert slots.write(3, page(9))
    assert not slots.read(2, page(0))
    assert slots.read(3, page(0))


def test_a_disk_without_room_keeps_nothing_and_forgets_what_was_there(tmp_path):
    slots = CheckedSlots(FileStore(tmp_path, SLOT_BYTES), SLOTS)
    assert slots.write(0, page(1))
    kept = os.dup(slots.store.descriptor)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, slots.store.descriptor)
    with pytest.raises(OSError, match="No space left") as raised:
        slots.store.write(0, page(2))
    assert raised.value.errno == errno.ENOSPC
    assert not slots.write(0, page(2))
    os.dup2(kept, slots.store.descriptor)
    assert not slots.read(0, page(0))
    assert slots.write(0, page(3))
    assert slots.read(0, page(0))
    os.close(kept)
    os.close(full)


def test_the_file_has_no_name_and_no_readers(tmp_path):
    store = FileStore(tmp_path, SLOT_BYTES)
    assert not list(tmp_path.iterdir())
    assert stat.S_IMODE(os.fstat(store.descriptor).st_mode) == 0o600
    with pytest.raises(FileNotFoundError):
        FileStore(tmp_path / "missing", SLOT_BYTES)


class Flaky:
    """A store that loses, mixes up and refuses, as it is told."""

    def __init__(self):
        self.kept, self.faults = {}, []

    def write(self, slot, data):
        fault = self.faults.pop() if self.faults else None
        if fault == "refuse":
            raise OSError(errno.ENOSPC, "no room")
        if fault == "torn":
            self.kept[slot] = np.concatenate([data[:7], self.kept.get(slot, page(0))[7:]])
        elif fault == "elsewhere":
            self.kept[(slot + 1) % SLOTS] = data.copy()
        elif fault != "lost":
            self.kept[slot] = data.copy()

    def read(self, slot, into):
        if slot not in self.kept:
            raise OSError(errno.EIO, "nothing there")
        into[:] = self.kept[slot]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, SLOTS - 1),
            st.sampled_from([None, None, "refuse", "torn", "elsewhere", "lost"]),
        ),
        max_size=30,
    )
)
def test_whatever_the_store_does_nothing_else_than_the_last_page_is_read(steps):
    slots, last = CheckedSlots(Flaky(), SLOTS), {}
    for value, (slot, fault) in enumerate(steps, start=1):
        slots.store.faults = [fault]
        last[slot] = value
        kept = slots.write(slot, page(value))
        assert kept == (fault != "refuse")
        for each in range(SLOTS):
            found = page(0)
            if slots.read(each, found):
                assert set(found) == {last[each]}
