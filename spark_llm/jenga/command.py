"""The verb `spark-llm memory`: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_llm.analyze.command import DEFAULT_INSTRUCTION, count, names, write
from spark_llm.cache.command import size_bytes
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from spark_llm.jenga.waste import Length

LENGTHS: Final = (512, 2048, 8192, 32768)
_DTYPES: Final = ("float32", "bfloat16", "float16", "fp8")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    verb.add_argument(
        "config", type=Path, metavar="MODEL_CONFIG", help="a model's config.json, or the folder it is in"
    )
    requests = verb.add_argument_group("the requests")
    requests.add_argument(
        "--rows", type=Path, metavar="TABLE",
        help="a Parquet file, a folder of them, or a CSV file whose rows are asked about "
        f"(default: prompts of {', '.join(f'{at:,}' for at in LENGTHS)} tokens)",
    )  # fmt: skip
    requests.add_argument("--fields", type=names, metavar="A,B", help="fields of the call (default: all)")
    requests.add_argument(
        "--instruction",
        default=DEFAULT_INSTRUCTION,
        metavar="TEXT",
        help='what is asked (default "%(default)s")',
    )
    requests.add_argument(
        "--answer-tokens", type=count, default=64, metavar="N", help="tokens of each answer (default 64)"
    )
    requests.add_argument(
        "--tokenizer", type=Path, metavar="FILE",
        help="tokenizer.json of the model, for exact counts (default: an estimate)",
    )  # fmt: skip
    engine = verb.add_argument_group("the engine")
    engine.add_argument(
        "--memory", type=size_bytes, default=size_bytes("16g"), metavar="SIZE",
        help="memory for keys, values and states (default 16g)",
    )  # fmt: skip
    engine.add_argument(
        "--block-tokens", type=count, default=16, metavar="N", help="tokens per block (default 16)"
    )
    engine.add_argument("--kv-dtype", choices=_DTYPES, help="of keys and values (default: the model's)")
    engine.add_argument("--state-dtype", choices=_DTYPES, help="of recurrent states (default: the model's)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(options: argparse.Namespace) -> int:
    """Prints the report; returns the exit status.

    Raises:
        SparkLLMError: the input is no good.
    """
    from spark_llm.jenga.hf_config import from_config
    from spark_llm.jenga.text import MemoryReport, memory_text

    for argument, value in (("--block-tokens", options.block_tokens), ("--memory", options.memory)):
        if value < 1:
            raise SparkLLMError("LLM_INVALID_ARGUMENT", argument=argument, value=value, expected="at least 1")
    path = options.config / "config.json" if options.config.is_dir() else options.config
    specs = from_config(read_config(path), kv_dtype=options.kv_dtype, state_dtype=options.state_dtype)
    report = MemoryReport(path.name, specs, _cases(options), options.memory, options.block_tokens)
    print(memory_text(report), end="")
    if options.json:
        write(options.json, json.dumps(report.data(), indent=1, ensure_ascii=False) + "\n")
    return 0


def read_config(path: Path) -> dict[str, Any]:
    """Returns the content of a config.json.

    Raises:
        SparkLLMError: LLM_FILE_NOT_FOUND or LLM_FILE_UNREADABLE.
    """
    if not path.exists():
        raise SparkLLMError("LLM_FILE_NOT_FOUND", file=path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SparkLLMError("LLM_FILE_UNREADABLE", file=path, reason=f"not a config.json: {error}") from error
    if not isinstance(config, dict):
        raise SparkLLMError("LLM_FILE_UNREADABLE", file=path, reason="not a config.json: no JSON object")
    return config


def _cases(options: argparse.Namespace) -> tuple[tuple[str, tuple[Length, ...]], ...]:
    from spark_llm.jenga.waste import Length

    if options.rows is None:
        return tuple((f"{prompt:,} tokens", (Length(prompt),)) for prompt in LENGTHS)
    from spark_llm.analyze.read import open_table
    from spark_llm.analyze.tokenizer import EstimatedTokenizer, FileTokenizer
    from spark_llm.jenga.rows import lengths_of

    source = open_table(options.rows, options.fields)
    tokenizer = FileTokenizer(options.tokenizer) if options.tokenizer else EstimatedTokenizer()
    lengths = lengths_of(source, options.instruction, options.answer_tokens, tokenizer)
    total = sum(at.requests * at.text_tokens for at in lengths)
    mean = total / sum(at.requests for at in lengths)
    return ((f"{source.path.name}: {source.rows:,} rows, {mean:,.0f} tokens", tuple(lengths)),)
