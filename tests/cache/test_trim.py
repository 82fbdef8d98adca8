import pytest
from cache_files import CALL, DAY_S, HOUR_S, NOW_S
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_llm.cache.trim import trim

AGES = st.integers(0, 10 * 86_400).map(float)
FILES = st.lists(st.lists(st.tuples(st.integers(0, 12), AGES), min_size=1, max_size=6), max_size=8)


def test_old_files_go_whole_and_mixed_ones_are_rewritten(folder):
    old = folder.write([(1, 31 * DAY_S), (2, 40 * DAY_S)])
    mixed = folder.write([(3, 31 * DAY_S), (4, 29 * DAY_S)])
    good = folder.write([(5, 29 * DAY_S), (6, DAY_S)])
    report = trim(folder.cache, NOW_S, 30 * DAY_S, None, HOUR_S)
    assert (report.expired_files, report.rewritten_files, report.expired_rows) == (1, 1, 3)
    assert (old.exists(), mixed.exists(), good.exists()) == (False, False, True)
    assert folder.rows() == [(4, 29 * DAY_S), (5, 29 * DAY_S), (6, DAY_S)]
    assert report.files == len(folder.files()) == 2
    assert report.size_bytes == sum(path.stat().st_size for path in folder.files())


def test_the_oldest_files_go_until_the_size_fits_whenever_they_were_written(folder):
    merged_lately = folder.write([(1, 9 * DAY_S)], age_s=2 * HOUR_S)
    middle = folder.write([(2, 5 * DAY_S)])
    newest = folder.write([(3, DAY_S)], age_s=3 * DAY_S)
    size = middle.stat().st_size
    report = trim(folder.cache, NOW_S, None, 2 * size + 100, HOUR_S)
    assert (report.oversize_files, report.oversize_rows) == (1, 1)
    assert not merged_lately.exists()
    report = trim(folder.cache, NOW_S, None, size + 100, HOUR_S)
    assert report.oversize_files == 1
    assert [path for path in (middle, newest) if path.exists()] == [newest]


def test_files_younger_than_the_grace_time_are_not_touched(folder):
    young = folder.write([(1, 40 * DAY_S)], age_s=60.0)
    folder.write([(2, DAY_S)])
    report = trim(folder.cache, NOW_S, 30 * DAY_S, 0, HOUR_S)
    assert folder.files() == [young]
    assert (report.young_files, report.files, report.size_bytes) == (1, 1, young.stat().st_size)


def test_hidden_files_go_after_a_day_and_checksums_with_their_file(folder):
    part = folder.write([(1, 3 * DAY_S)])
    call = folder.path / f"call={CALL}"
    ages = {".part-a.parquet.tmp": 2 * DAY_S, "_part-b": 2 * DAY_S, ".part-c.parquet.tmp": HOUR_S}
    ages |= {f".{part.name}.crc": 3 * DAY_S, ".part-gone.parquet.crc": 3 * DAY_S}
    for name, age in ages.items():
        (call / name).write_text("x")
        folder.age(call / name, age)
    report = trim(folder.cache, NOW_S, None, None, HOUR_S)
    assert report.orphans == 3
    assert {path.name for path in call.iterdir()} == {part.name, f".{part.name}.crc", ".part-c.parquet.tmp"}
    trim(folder.cache, NOW_S, DAY_S, None, HOUR_S)
    assert {path.name for path in call.iterdir()} == {".part-c.parquet.tmp"}


@pytest.mark.parametrize(("age_s", "stays"), [(31 * DAY_S, False), (29 * DAY_S, True)])
def test_a_file_that_cannot_be_read_is_as_old_as_it_was_written(folder, age_s, stays):
    broken = folder.write([(1, DAY_S)])
    broken.write_bytes(b"PAR1 no")
    folder.age(broken, age_s)
    report = trim(folder.cache, NOW_S, 30 * DAY_S, None, HOUR_S)
    assert list(report.unreadable) == [str(broken)]
    assert broken.exists() == stays


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, ttl_s=AGES, grace_s=st.sampled_from([0.0, 3600.0, 3 * 86_400.0]))
def test_exactly_the_rows_past_the_ttl_go(make_folder, files, ttl_s, grace_s):
    folder = make_folder()
    kept = []
    for rows in files:
        folder.write(rows)
        young = min(age for _, age in rows) < grace_s
        kept += [row for row in rows if young or row[1] <= ttl_s]
    trim(folder.cache, NOW_S, ttl_s, None, grace_s)
    assert folder.rows() == sorted(kept)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, max_bytes=st.integers(0, 30_000), ttl_s=st.none() | AGES)
def test_the_size_fits_and_no_file_goes_before_an_older_one(make_folder, files, max_bytes, ttl_s):
    folder = make_folder()
    for rows in files:
        folder.write(rows)
    report = trim(folder.cache, NOW_S, ttl_s, max_bytes, HOUR_S)
    left = sum(path.stat().st_size for path in folder.files())
    assert report.size_bytes == left
    young = [rows for rows in files if min(age for _, age in rows) < HOUR_S]
    assert left <= max_bytes or len(folder.files()) == len(young)
    newest = sorted(min(age for _, age in rows) for rows in files)
    ages = {age for _, age in folder.rows()}
    count = len(folder.files())
    assert all(age in ages for age in newest[:count] if ttl_s is None or age <= ttl_s)
