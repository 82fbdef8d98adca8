"""vLLM's counters, and those of each call, in Spark's metric system: seen as Prometheus sees them."""

import re
import time
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.spark

PLUGIN = "plugin_org_apache_spark_sql_llm_LLMPlugin_"
INSTRUCTION = "Is it something for private eyes only?"


def scraped(spark):
    """Value of each metric of the plug-in, without the application's id."""
    with urlopen(f"{spark.sparkContext.uiWebUrl}/metrics/prometheus/") as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        if match := re.fullmatch(r"metrics_.*?" + PLUGIN + r'(\w+)\{type="(\w+)"\} (\S+)', line):
            found[match[1]] = float(match[3])
    return found


def until(spark, ready):
    """Executors tell the driver every two seconds."""
    for _ in range(100):
        found = scraped(spark)
        if ready(found):
            break
        time.sleep(0.1)
    return found


def ask(spark, rows):
    spark.sql(
        f"SELECT llm('{INSTRUCTION}', repeat('a long common beginning ', 20), id) FROM range(0, {rows}, 1, 1)"
    ).collect()


def site(found, before):
    (name,) = {
        match[1]
        for key, value in found.items()
        if value != before.get(key, 0) and (match := re.fullmatch(r"call_([0-9a-f]{8})_requests_Count", key))
    }
    return name


def test_counters_of_the_engine_and_of_the_call(spark):
    before = scraped(spark)
    ask(spark, 40)
    now = scraped(spark)
    call = site(now, before)
    assert now[f"call_{call}_requests_Count"] - before.get(f"call_{call}_requests_Count", 0) == 40

    def gained(name):
        return now[f"engine_{name}_Count"] - before.get(f"engine_{name}_Count", 0)

    # the fake engine has no page of its own: what its tasks counted
    assert gained("prompt_tokens") == gained("prefix_cache_queries") > gained("prefix_cache_hits") > 0
    assert gained("generation_tokens") > 0
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert f"engine_{name}_Value" in now


def test_the_drivers_sums_follow(spark):
    before = scraped(spark)
    ask(spark, 30)
    call = site(scraped(spark), before)
    mine = f"calls_{call}_requests_Count"
    theirs = f"call_{call}_requests_Count"
    now = until(spark, lambda found: found.get(mine) == found[theirs])
    assert now[mine] == now[theirs]
    assert now["engines_prompt_tokens_Count"] == now["engine_prompt_tokens_Count"]


def test_a_failed_row_is_counted_and_no_prompt_is_a_label(spark, conf):
    conf("spark.llm.fake.fail", '"x": 3}')
    before = scraped(spark)
    spark.sql(
        "SELECT llm('Is it <private>?', struct(id AS x), on_error => 'null') FROM range(0, 9, 1, 1)"
    ).collect()
    now = scraped(spark)
    call = site(now, before)
    assert now[f"call_{call}_failed_rows_Count"] - before.get(f"call_{call}_failed_rows_Count", 0) == 1
    assert not [name for name in now if "private" in name or "Is_it" in name]


def test_rows_from_the_cache_are_counted(spark, conf, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path))
    before = scraped(spark)
    ask(spark, 12)
    first = scraped(spark)
    name = f"call_{site(first, before)}_cached_rows_Count"
    ask(spark, 12)
    assert first[name] == before.get(name, 0)
    assert scraped(spark)[name] - first[name] == 12
