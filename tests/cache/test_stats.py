from cache_files import CALL, DAY_S, HOUR_S, NOW_S, OTHER_CALL

from spark_llm.cache.stats import stats


def test_figures_per_call(folder):
    paths = [folder.write([(1, 3 * DAY_S), (2, 2 * DAY_S)]), folder.write([(2, DAY_S)])]
    folder.write([(9, DAY_S)], call=OTHER_CALL, halves=True)
    found = stats(folder.cache, NOW_S)
    (first,) = [call for call in found.calls if call.call == CALL]
    assert (first.files, first.entries, first.distinct_keys, first.small_files) == (2, 3, 2, 2)
    assert first.size_bytes == sum(path.stat().st_size for path in paths)
    assert (first.oldest, first.newest) == ("2027-01-12T08:00:00Z", "2027-01-14T08:00:00Z")
    assert (first.prompt_tokens, first.answer_tokens) == (200, 14)
    assert (first.model, first.revision, first.instruction_hash) == ("small", "r1", "ab" * 16)
    (other,) = [call for call in found.calls if call.call == OTHER_CALL]
    assert (other.files, other.entries, other.distinct_keys, other.small_files) == (1, 1, 1, 0)
    data = found.data()
    assert (data["files"], data["entries"], data["distinct_keys"], data["answer_tokens"]) == (3, 4, 3, 21)
    assert [call["call"] for call in data["calls"]] == [call.call for call in found.calls]


def test_hidden_and_unreadable_files_are_told_apart(folder):
    part = folder.write([(1, DAY_S)])
    for name, age in ((".part-a.tmp", HOUR_S), (".part-b.tmp", 2 * DAY_S), (f".{part.name}.crc", 2 * DAY_S)):
        (part.parent / name).write_text("x")
        folder.age(part.parent / name, age)
    broken = folder.write([(2, DAY_S)])
    broken.write_bytes(b"no")
    found = stats(folder.cache, NOW_S)
    assert (found.being_written, found.orphans) == (1, 1)
    assert list(found.unreadable) == [str(broken)]
    assert found.total("files") == 1


def test_other_folders_and_empty_files_are_no_answers(folder):
    part = folder.write([(1, DAY_S)])
    (folder.path / "call=short").mkdir()
    (folder.path / "call=short" / "part-1.parquet").write_text("x")
    (part.parent / "part-empty.parquet").touch()
    (part.parent / "notes.txt").write_text("x")
    found = stats(folder.cache, NOW_S)
    assert (found.total("files"), found.unreadable) == (1, {})
