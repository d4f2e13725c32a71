"""What bounds the bars that are not met, and what was tried: each told with numbers of the run."""

from __future__ import annotations

from benchmarks import backfill, breakdown, hot_path, size, trust
from benchmarks.contestants import FLOOR, OURS, PEER, SPEC, overhead
from benchmarks.measure import Median


def of_a_result(look: Median) -> str:
    """Single results of 1 KB."""
    floor = overhead(look, hot_path.ONE_KB, FLOOR)
    spec, peer = overhead(look, hot_path.ONE_KB, SPEC), overhead(look, hot_path.ONE_KB, PEER)
    keys = _saved(look, breakdown.PARTS, "all foreign keys")
    look_up = _saved(look, breakdown.TRIGGERS, breakdown.PINNED_ROW)
    less = overhead(look, breakdown.OTHERWISE, breakdown.TWO_KEYS_LESS)
    return (
        f"Already the floor, which reads nothing and has no trigger, takes {floor / spec:.2f} of "
        f"{SPEC}'s time and {floor / peer:.2f} of {PEER}'s: three foreign keys take {keys:.0f} of "
        f"its {floor:.0f} µs. A trigger that looks the task up and reads nothing adds "
        f"{look_up:.0f} µs; the rest is one guarded reading of the event, half of it the server's "
        "own parse. Tried: to read by json paths; to cut short texts too; all of it in "
        "the trigger's body (4 % of the instructions less, and a second home for the reading); no "
        "pinned search_path (1 %); a trigger for each statement (see what each part costs). "
        "Without the keys to the step and to the task it would be "
        f"{less / overhead(look, breakdown.OTHERWISE, SPEC):.2f} of {SPEC}'s; they stay, as an "
        "audit row must not outlive what it tells of."
    )


def of_a_long_text(look: Median) -> str:
    """Text events of many KB."""
    return (
        "Of the instructions that ours adds to the floor at 16 KB, a quarter take the row out of "
        "its compression, once, and another quarter check that the worker's output is JSON; both "
        "are the server's own. Tried: to parse the whole text as jsonb, to search it as json, to "
        "cut the output out as text: all slower."
    )


def of_a_large_object(look: Median) -> str:
    """Object events of many KB."""
    return (
        "The floor never looks at the event. Whoever does has to take it out of the compressed or "
        "toasted row first, once, and copy it; nothing else that the reader does grows with it."
    )


def of_many_rows(look: Median) -> str:
    """Many rows in one statement."""
    ours = overhead(look, breakdown.OTHERWISE_TOGETHER, OURS)
    other = overhead(look, breakdown.OTHERWISE_TOGETHER, breakdown.BY_STATEMENT)
    floor = overhead(look, breakdown.OTHERWISE_TOGETHER, FLOOR)
    one = overhead(look, breakdown.OTHERWISE, breakdown.BY_STATEMENT)
    return (
        "The floor writes all rows in one statement and reads no event; a trigger for each row "
        "writes them one by one. A trigger for each statement takes "
        f"{other / floor:.2f} of the floor's time here and not {ours / floor:.2f}, but "
        f"{one / overhead(look, breakdown.OTHERWISE, OURS):.2f} times ours where rows come one by "
        "one, as an engine writes them."
    )


def of_what_is_not_audited(look: Median) -> str:
    """Transitions that are no result."""
    empty = overhead(look, breakdown.TRIGGERS, breakdown.EMPTY)
    pinned = overhead(look, breakdown.TRIGGERS, breakdown.EMPTY_PINNED)
    return (
        f"An empty PL/pgSQL trigger adds {empty:.1f} µs inside the server, which alone is more "
        f"than the bar; with the rights of its owner and a pinned search_path {pinned:.1f}. "
        "Through a client each transaction also prepares the trigger's expressions anew. A WHEN "
        "clause costs more: it is compiled for each statement."
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
