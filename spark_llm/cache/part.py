"""A new file of answers: hidden while it is written, then visible as a whole."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from spark_llm.cache.layout import Cache, CacheFile
from spark_llm.errors import SparkLLMError

_GROUP_BYTES: Final = 32 << 20


class Part:
    """Writes one file; a context manager that leaves nothing behind when it is left without `publish`.

    Args:
        cache: the folder.
        call: fingerprint of the call.
        schema: columns of the rows.
    """

    def __init__(self, cache: Cache, call: str, schema: pa.Schema) -> None:
        name = f"part-{uuid.uuid4()}.parquet"
        folder = f"{cache.root.rstrip('/')}/call={call}" if cache.root else f"call={call}"
        self.path: Final = f"{folder}/{name}"
        self.rows = 0
        self._hidden: Final = f"{folder}/.{name}.tmp"
        self._cache, self._call, self._schema = cache, call, schema
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._published = False
        self._sink: Any = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        try:
            self._sink = self._cache.filesystem.open_output_stream(self._hidden)
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        except OSError as error:
            raise self._not_written(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._published:
            return
        # the failure that led here is the one to tell
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError, pa.ArrowException):
            self._sink.close()
        self._cache.delete(self._hidden)

    @property
    def size_bytes(self) -> int:
        """What is written so far, without the rows that are still held."""
        return int(self._sink.tell())

    def add(self, table: pa.Table) -> None:
        """Adds rows, which are held until there are enough for a row group.

        Raises:
            SparkLLMError: LLM_FILE_NOT_WRITTEN.
        """
        self._held.append(table.replace_schema_metadata(self._schema.metadata))
        self._held_bytes += table.nbytes
        self.rows += table.num_rows
        if self._held_bytes >= _GROUP_BYTES:
            self._flush()

    def publish(self) -> CacheFile:
        """Ends the file and makes it visible.

        Raises:
            SparkLLMError: LLM_FILE_NOT_WRITTEN.
        """
        self._flush()
        try:
            self._writer.close()
            self._sink.close()
            self._cache.publish(self._hidden, self.path)
            self._published = True
            info = self._cache.filesystem.get_file_info(self.path)
        except OSError as error:
            raise self._not_written(error) from error
        return CacheFile(self._call, self.path, info.size, info.mtime_ns / 1e9)

    def _flush(self) -> None:
        if not self._held:
            return
        try:
            self._writer.write_table(pa.concat_tables(self._held))
        except OSError as error:
            raise self._not_written(error) from error
        self._held, self._held_bytes = [], 0

    def _not_written(self, error: OSError) -> SparkLLMError:
        return SparkLLMError("LLM_FILE_NOT_WRITTEN", file=self.path, reason=error.strerror or error)
