"""The sealed log as rows, in its order and without a gap, for copies outside the database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

from step_audit.database import Connection, call, stream
from step_audit.errors import RefusedError, TrustError

COLUMNS = (
    "leaf_index leaf_hash kind record_uuid state accounted_by what recorded_at recorded_by "
    "task_uuid workflow_step_uuid workflow_step_transition_uuid step_name worker_uuid "
    "correlation_id success execution_time_ms from_state to_state transition_created_at "
    "result to_state_after result_after payload"
).split()
"""The fields of a leaf, in their order."""

JSON = frozenset({"result", "result_after", "payload"})
"""Those that are JSON text."""

# Leaves of one query.
_PAGE = 2_000


def check_start(conn: Connection, schema: str, after_leaf: int) -> None:
    """See that the leaf to go on behind is one of this log.

    Raises:
        RefusedError: it is not.
    """
    if after_leaf < 0:
        return
    found = call(conn, schema, "list_step_audit_log", p_after_leaf=after_leaf - 1, p_limit=1)
    if [row["leaf_index"] for row in found] != [after_leaf]:
        raise RefusedError(
            f"the log has no leaf {after_leaf}: it is another database's, or this one was set back "
            "to a time before; nothing was exported. 'step-audit verify' with a checkpoint tells."
        )


def iterate_log(
    conn: Connection, schema: str, after_leaf: int, limit: int | None
) -> Generator[dict[str, Any]]:
    """Rows of ``list_step_audit_log`` behind a leaf, page by page, as they come from the server.

    Close it before the transaction ends: until then the connection is its own.

    Raises:
        TrustError: a leaf is missing from the log.
    """
    last = after_leaf
    while limit is None or last - after_leaf < limit:
        asked = _PAGE if limit is None else min(_PAGE, limit - (last - after_leaf))
        before = last
        page = stream(conn, schema, "list_step_audit_log", p_after_leaf=last, p_limit=asked)
        with closing(page):
            for row in page:
                last += 1
                if row["leaf_index"] != last:
                    raise TrustError(
                        f"leaf {last} is missing from the log, which nothing of step-audit's "
                        "does; no more was exported. 'step-audit verify' tells what else is."
                    )
                yield row
        if last - before < asked:
            return
