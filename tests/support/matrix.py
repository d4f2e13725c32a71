"""A matrix of tests, printed when it was run: what became of each cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

FAILED = "FAILED"


@dataclass(frozen=True)
class Cell:
    """A test that was run: the groups of its name, and what it noted by ``record_property``."""

    names: dict[str, str]
    passed: bool
    noted: dict[str, str]


def cells(terminalreporter: Any, pattern: str) -> Iterator[Cell]:
    """The tests that were run whose name has ``pattern`` in it."""
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if found := re.search(pattern, report.nodeid):
                noted = dict(getattr(report, "user_properties", ()))
                yield Cell(found.groupdict(), outcome == "passed", noted)


def write_matrix(
    terminalreporter: Any,
    title: str,
    rows: Iterable[str],
    columns: Iterable[str],
    text_of: Callable[[str, str], str | None],
) -> None:
    """Write a table of what ``text_of(row, column)`` says; rows and columns without a word go."""
    texts = {
        (row, column): text for row in rows for column in columns if (text := text_of(row, column))
    }
    heads = [column for column in columns if any(column == c for _, c in texts)]
    width = max(len(row) for row, _ in texts) + 2
    widths = [
        max(len(text) for (_, c), text in [(("", head), head), *texts.items()] if c == head) + 2
        for head in heads
    ]
    terminalreporter.section(title)

    def line(first: str, others: Iterable[str]) -> str:
        padded = (text.ljust(w) for text, w in zip(others, widths, strict=True))
        return (first.ljust(width) + "".join(padded)).rstrip()

    terminalreporter.write_line(line("", heads))
    for row in dict.fromkeys(row for row, _ in texts):
        shown = (texts.get((row, head), "-") for head in heads)
        terminalreporter.write_line(line(row, shown))
