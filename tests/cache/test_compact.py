import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_files import CALL, DAY_S, HOUR_S, NOW_S, OTHER_CALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_llm.cache.compact import compact
from spark_llm.cache.layout import Cache
from spark_llm.errors import SparkLLMError

FILES = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5 * 86_400).map(float)), min_size=1, max_size=6),
    max_size=8,
)


def newest_of(rows):
    ages = {}
    for key, age in rows:
        ages[key] = min(age, ages.get(key, age))
    return ages


class Watched(Cache):
    """A cache that looks at what readers see before and after every step."""

    def look_with(self, look):
        object.__setattr__(self, "look", look)
        return self

    def publish(self, hidden, path):
        self.look()
        super().publish(hidden, path)
        self.look()

    def delete(self, path):
        self.look()
        super().delete(path)
        self.look()


def watched(folder, look):
    cache = folder.cache
    return Watched(cache.filesystem, cache.root, cache.shown).look_with(look)


def test_small_files_become_one_with_the_newest_row_of_each_key(folder):
    folder.write([(1, 3 * DAY_S), (2, 3 * DAY_S)])
    folder.write([(2, 2 * DAY_S), (3, 2 * DAY_S)])
    folder.write([(1, 4 * DAY_S)])
    folder.write([(1, 2 * DAY_S)], call=OTHER_CALL)
    report = compact(folder.cache, NOW_S, HOUR_S)
    assert (report.merged_files, report.new_files, report.duplicate_rows) == (3, 1, 2)
    assert folder.rows() == [(1, 2 * DAY_S), (1, 3 * DAY_S), (2, 2 * DAY_S), (3, 2 * DAY_S)]
    assert len(folder.files()) == 2
    assert not list(folder.path.rglob(".*"))
    again = compact(folder.cache, NOW_S + 2 * HOUR_S, HOUR_S)
    assert (again.merged_files, again.new_files) == (0, 0)


def test_columns_and_values_stay(folder):
    for number in range(3):
        path = folder.write([(number, DAY_S)])
    before = pq.ParquetFile(path).schema_arrow
    compact(folder.cache, NOW_S, HOUR_S)
    (path,) = folder.files()
    table = pq.ParquetFile(path).read()
    assert table.schema.equals(before)
    assert sorted(table["answer"].to_pylist()) == [f"answer {number} of 86400" for number in range(3)]


def test_files_younger_than_the_grace_time_are_not_touched(folder):
    young = [folder.write([(number, 60.0)]) for number in range(2)]
    old = [folder.write([(number, DAY_S)]) for number in range(2)]
    report = compact(folder.cache, NOW_S, HOUR_S)
    assert report.young_files == 2
    assert all(path.exists() for path in young)
    assert not any(path.exists() for path in old)


def test_large_files_stay_unless_a_newer_row_replaces_one_of_theirs(folder):
    large = folder.write([(number, 3 * DAY_S) for number in range(50)])
    for number in (100, 101):
        folder.write([(number, DAY_S)])
    small_bytes = large.stat().st_size
    compact(folder.cache, NOW_S, HOUR_S, small_bytes=small_bytes)
    assert large.exists()
    assert len(folder.files()) == 2
    folder.write([(7, DAY_S)])
    compact(folder.cache, NOW_S + DAY_S, HOUR_S, small_bytes=small_bytes)
    assert not large.exists()
    assert len(folder.rows()) == 52


def test_a_new_file_ends_at_the_target_size(folder):
    for number in range(12):
        folder.write([(number * 100 + at, DAY_S) for at in range(100)])
    report = compact(folder.cache, NOW_S, HOUR_S, target_bytes=4)
    assert report.new_files == 12
    assert len(folder.rows()) == 1200


def test_keys_as_two_longs_are_understood_and_kept_apart_from_other_columns(folder):
    folder.write([(1, 2 * DAY_S), (2 << 64, DAY_S)], halves=True)
    folder.write([(1, DAY_S)], halves=True)
    folder.write([(1, DAY_S)])
    report = compact(folder.cache, NOW_S, HOUR_S)
    assert (report.merged_files, report.new_files, report.duplicate_rows) == (2, 1, 1)
    names = [pq.ParquetFile(path).schema_arrow.names[0] for path in folder.files()]
    assert sorted(names) == ["key", "key_high"]


def test_a_file_that_cannot_be_read_stays_and_is_named(folder):
    broken = folder.write([(1, DAY_S)])
    broken.write_bytes(broken.read_bytes()[:-20])
    folder.age(broken, DAY_S)
    other = folder.path / f"call={CALL}" / "part-other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    folder.age(other, DAY_S)
    for number in (2, 3):
        folder.write([(number, DAY_S)])
    report = compact(folder.cache, NOW_S, HOUR_S)
    assert set(report.unreadable) == {str(broken), str(other)}
    assert broken.exists()
    assert other.exists()
    assert (report.merged_files, report.new_files) == (2, 1)


def test_files_that_vanish_meanwhile_are_passed_over(folder):
    paths = [folder.write([(number, DAY_S)]) for number in range(4)]
    cache = folder.cache
    listing = cache.listing()
    paths[1].unlink()

    class Stale(Cache):
        def listing(self):
            return listing

    report = compact(Stale(cache.filesystem, cache.root, cache.shown), NOW_S, HOUR_S)
    assert report.merged_files == 3
    assert [key for key, _ in folder.rows()] == [0, 2, 3]


def test_a_failed_write_loses_nothing_and_leaves_nothing_hidden(folder):
    for number in range(4):
        folder.write([(number, DAY_S)])
    before = folder.rows()

    class Full(Cache):
        def publish(self, hidden, path):
            raise OSError(28, "No space left on device")

    cache = folder.cache
    with pytest.raises(SparkLLMError, match="LLM_FILE_NOT_WRITTEN.*No space left"):
        compact(Full(cache.filesystem, cache.root, cache.shown), NOW_S, HOUR_S)
    assert folder.rows() == before
    assert not list(folder.path.rglob(".*"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=FILES, target_bytes=st.sampled_from([1, 4000, 1 << 27]), small_bytes=st.sampled_from([1, 1 << 26])
)
def test_readers_see_every_key_at_every_step(make_folder, files, target_bytes, small_bytes):
    folder = make_folder()
    for rows in files:
        folder.write(rows)
    before = newest_of(row for rows in files for row in rows)
    steps = []

    def look():
        steps.append(1)
        assert newest_of(folder.rows()) == before

    report = compact(watched(folder, look), NOW_S, HOUR_S, small_bytes=small_bytes, target_bytes=target_bytes)
    assert len(steps) >= report.merged_files
    look()
    if not report.young_files:
        assert len(folder.rows()) == len(before)
