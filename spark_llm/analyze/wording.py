"""Numbers and findings in the words of the printed and the HTML report, so that both say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spark_llm.analyze.analysis import DISTINCT, FIXED, PLANNED, WRITTEN
from spark_llm.analyze.numbers import percent, short

if TYPE_CHECKING:
    from spark_llm.analyze.analysis import Analysis, OrderReport
    from spark_llm.analyze.duplicates import DuplicateReport
    from spark_llm.analyze.fields import FieldReport

NOTHING_SHARE: Final = 0.02
_STOPS_SHARE: Final = 0.1
_MAX_NAMES: Final = 3


def sent(analysis: Analysis) -> OrderReport:
    """Returns the order that `llm()` would send: equal rows once, where there are any."""
    return analysis.orders.get(DISTINCT) or analysis.orders[PLANNED]


def verdict(analysis: Analysis) -> str:
    """Returns in one or two sentences what planning is worth on this table."""
    written, best = analysis.orders[WRITTEN], sent(analysis)
    fixed = analysis.orders[FIXED]
    saved = written.compute_tokens - best.compute_tokens
    share = saved / written.compute_tokens if written.compute_tokens else 0.0
    bound = analysis.shareable_tokens / max(written.prompt_tokens, 1)
    if share < NOTHING_SHARE:
        if bound - written.reused_share < NOTHING_SHARE:
            why = f"at most {percent(bound)} of the prompt tokens repeat at all" if bound < 0.5 else ""
            why = why or "the written order already reuses what repeats"
            return f"Nothing to gain from another order: {why}."
        return (
            f"Little to gain: {short(best.compute_tokens)} tokens to compute instead of "
            f"{short(written.compute_tokens)} as written."
        )
    text = (
        f"{percent(share)} of the prefill saved: {short(best.compute_tokens)} tokens to compute instead of "
        f"{short(written.compute_tokens)} as written with a prefix cache "
        f"({written.compute_tokens / max(best.compute_tokens, 1):.1f} times less)"
    )
    part = written.compute_tokens - fixed.compute_tokens
    by_fixed = (
        f"; a fixed field order alone saves {percent(part / written.compute_tokens)}" if part > 0 else ""
    )
    return text + by_fixed + "."


def warnings(analysis: Analysis) -> list[str]:
    """Returns what keeps equal questions from being asked once, most telling first."""
    found = []
    base = analysis.duplicates[0].saved_share if analysis.duplicates else 0.0
    reports = {report.name: report for report in analysis.field_reports}
    for line in analysis.duplicates[1:]:
        gain = line.saved_share - base
        if all(reports[name].distinct == reports[name].rows for name in line.left_out):
            found.append(_unique_warning(line))
            continue
        if gain < _STOPS_SHARE or len(line.left_out) > _MAX_NAMES:
            continue
        if len(line.left_out) > 1 and _subset_does(analysis, line, base):
            continue
        names, verb = joined(line.left_out), "stops" if len(line.left_out) == 1 else "together stop"
        nearly = len(line.left_out) == 1 and reports[line.left_out[0]].unique
        kind = " is nearly unique per row and" if nearly else ""
        found.append(
            f"{names}{kind} {verb} {percent(gain)} of deduplication: without "
            f"{'it' if len(line.left_out) == 1 else 'them'}, {line.questions:,} questions answer "
            f"{line.rows:,} rows."
        )
    return found


def _unique_warning(line: DuplicateReport) -> str:
    one = len(line.left_out) == 1
    names = joined(
        line.left_out if len(line.left_out) <= _MAX_NAMES else (*line.left_out[:_MAX_NAMES], "others")
    )
    head = f"{names} {'is' if one else 'are'} unique per row, so that no two questions are equal"
    it = "it" if one else "them"
    if line.questions == line.rows:
        return f"{head}, and neither are any without {it}."
    return f"{head}; without {it} {percent(line.saved_share)} of the calls are saved."


def _subset_does(analysis: Analysis, line: DuplicateReport, base: float) -> bool:
    """Whether fewer of the same fields already save nearly as much."""
    return any(
        set(other.left_out) < set(line.left_out)
        and other.saved_share - base > line.saved_share - base - _STOPS_SHARE
        for other in analysis.duplicates
    )


def joined(names: tuple[str, ...]) -> str:
    """Returns ``a``, ``a and b`` or ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def left_out(line: DuplicateReport, fields: int) -> str:
    """Returns what a line of the duplicates is about."""
    return f"all {fields} fields" if not line.left_out else f"without {joined(line.left_out)}"


def note(report: FieldReport) -> str:
    """Returns what is special about a field, in a few words."""
    parts = []
    if report.fixed_by:
        parts.append(f"fixed by {joined(tuple(report.fixed_by))}")
    if report.distinct == 1 and report.rows > 1:
        parts.append("the same in all rows")
    elif report.unique:
        everywhere = report.distinct == report.rows
        parts.append("unique per row" if everywhere else "nearly unique per row")
    if report.nulls:
        parts.append(f"{percent(report.nulls / report.rows)} null")
    return "; ".join(parts)
