"""A cache folder written as tasks write it, at times of the test's choosing."""

import os
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_llm.cache.layout import Cache
from spark_llm.cache.open import open_cache

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
HOUR_S = 3600.0
CALL = "0123456789abcdef" * 2
OTHER_CALL = "fedcba9876543210" * 2


def key_of(number):
    return number.to_bytes(16, "big")


def answers(rows, halves=False):
    """Rows of (key number, age in seconds), with the columns of a finished file."""
    count = len(rows)
    raw = [key_of(number) for number, _ in rows]
    if halves:
        both = np.frombuffer(b"".join(raw), ">i8").astype(np.int64).reshape(-1, 2)
        key = {"key_high": pa.array(both[:, 0]), "key_low": pa.array(both[:, 1])}
    else:
        key = {"key": pa.array(raw, pa.binary())}
    created = [round((NOW_S - age_s) * 1e6) for _, age_s in rows]
    return pa.table(
        key
        | {
            "model": ["small"] * count,
            "revision": ["r1"] * count,
            "instruction_hash": ["ab" * 16] * count,
            "instruction": pa.nulls(count, pa.string()),
            "fields": pa.nulls(count, pa.string()),
            "answer": [f"answer {number} of {age_s:g}" for number, age_s in rows],
            "prompt_tokens": pa.array([100] * count, pa.int64()),
            "generated_tokens": pa.array([7] * count, pa.int64()),
            "created_at": pa.array(created, pa.timestamp("us", "UTC")),
        }
    )


class Folder:
    """Writes files; `cache` is the folder as the tool sees it."""

    def __init__(self, path):
        self.path = path

    @property
    def cache(self) -> Cache:
        return open_cache(str(self.path))

    def write(self, rows, call=CALL, age_s=None, halves=False):
        """Writes one file; it was modified when its last row was made, or ``age_s`` ago."""
        path = self.path / f"call={call}" / f"part-{uuid.uuid4()}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(answers(rows, halves), path)
        self.age(path, min(age for _, age in rows) if age_s is None else age_s)
        return path

    def age(self, path, age_s):
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))

    def files(self):
        return sorted(self.path.glob("call=*/part-*.parquet"))

    def rows(self):
        """Every (key number, age in seconds) that a reader sees, sorted."""
        found = []
        for path in self.files():
            table = pq.ParquetFile(path).read()
            ages = NOW_S - np.array(table["created_at"].cast(pa.int64())) / 1e6
            keys = [int.from_bytes(key, "big") for key in table["key"].to_pylist()]
            found += zip(keys, ages.round(3).tolist(), strict=True)
        return sorted(found)
