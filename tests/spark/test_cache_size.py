"""What a query leaves of the cache folder when it has ended: no more than allowed, in few files."""

import os
import time

import pytest
from test_cache_table import files, grow_old, run, settled

pytestmark = pytest.mark.spark

SQL = "SELECT id, llm('p', id) a FROM range(0, 40, 1, 4)"


@pytest.fixture
def cache(spark, conf, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    settled(spark)


def total_bytes(folder):
    return sum(path.stat().st_size for path in files(folder))


def test_the_oldest_files_go_when_a_query_ends(spark, conf, cache):
    run(spark, SQL.replace("'p'", "'q'"))
    first, *others = files(cache)
    for path in others:
        path.unlink()
    # Alike in size, so that it does not matter which of them go.
    old = [first, *(first.with_name(f"part-{i:08}-0000-0000-0000-000000000000.parquet") for i in range(3))]
    for path in old[1:]:
        path.write_bytes(first.read_bytes())
    for hours, path in enumerate(old, start=2):
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    run(spark)
    young = set(files(cache)) - set(old)
    most = sum(path.stat().st_size for path in [*young, *old[:2]])
    conf("spark.llm.cache.maxSize", str(most))
    assert run(spark)[1] == 0
    assert total_bytes(cache) <= most
    assert young <= set(files(cache))
    assert len(files(cache)) == len(young) + 2


def test_what_is_young_stays_above_the_size_too(spark, conf, cache):
    conf("spark.llm.cache.maxSize", "1")
    run(spark)
    kept = files(cache)
    assert run(spark)[1] == 0
    assert files(cache) == kept


def test_a_size_that_is_none_fails_at_planning(spark, conf, cache):
    conf("spark.llm.cache.maxSize", "much")
    with pytest.raises(Exception, match="LLM_INVALID_CONF"):
        spark.sql(SQL)._jdf.queryExecution().optimizedPlan()


def test_very_many_small_files_are_merged(spark, cache):
    first, _ = run(spark)
    (folder,) = {path.parent for path in files(cache)}
    content = files(cache)[0].read_bytes()
    for i in range(1000):
        (folder / f"part-{i:08}-0000-0000-0000-000000000000.parquet").write_bytes(content)
    assert run(spark) == (first, 0)
    assert len(files(cache)) > 1000, "a query may be reading them"
    grow_old(cache)
    assert run(spark) == (first, 0)
    assert len(files(cache)) == 1
    assert run(spark) == (first, 0)
