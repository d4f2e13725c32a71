"""Rows as the commands print them: of a step, of a task, or of whatever filters let through."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, repeat
from typing import Any
from uuid import UUID

from step_audit.database import Connection, call, stream
from step_audit.errors import UnknownSubjectError

Row = dict[str, Any]

# A page that is not found in order of time costs all that its filters let through, however small it
# is; one that is too large is sorted on the server's disk.
_PAGES = (1_000, 10_000, 100_000)


def check_subject(conn: Connection, schema: str, step: UUID | None, task: UUID | None) -> None:
    """See that the step or the task is known, where one is given.

    Raises:
        UnknownSubjectError: it is not, or it is another task's step.
    """
    if step or task:
        subject = {"p_step_uuid": step, "p_task_uuid": task}
        (found,) = call(conn, schema, "is_step_audit_subject", **subject)
        if not found["is_step_audit_subject"]:
            raise UnknownSubjectError(step, task)


def read_history(
    conn: Connection, schema: str, *, step: UUID | None = None, task: UUID | None = None
) -> list[Row]:
    """Audited results of one step, or of all steps of one task, newest first.

    The columns are those of the SQL function ``list_step_audits``. ``result`` is the JSON text
    that stands in the transition, since Python's floats would not keep every digit.

    Raises:
        UnknownSubjectError: there is no such step or task.
    """
    check_subject(conn, schema, step, task)
    if task is not None:
        return call(conn, schema, "get_task_audit_history", p_task_uuid=task)
    return call(conn, schema, "get_step_audit_history", p_step_uuid=step)


def iterate_audits(
    conn: Connection, schema: str, limit: int | None, filters: dict[str, object]
) -> Generator[Row]:
    """Rows of ``list_step_audits``, newest first, page by page, as they come from the server.

    Close it before the transaction ends: until then the connection is its own.
    """

    def behind(last: Row) -> dict[str, object]:
        return {
            "p_before_recorded_at": last["recorded_at"],
            "p_before_sort_key": last["sort_key"],
            "p_before_audit_uuid": last["workflow_step_result_audit_uuid"],
        }

    def page(cursor: dict[str, object]) -> Generator[Row]:
        return stream(conn, schema, "list_step_audits", **filters, **cursor)

    return _joined(page, behind, limit)


def iterate_changes(
    conn: Connection, schema: str, limit: int | None, filters: dict[str, object]
) -> Generator[Row]:
    """Rows of ``list_step_audit_changes``, newest first, as :func:`iterate_audits` gives them."""

    def behind(last: Row) -> dict[str, object]:
        return {"p_before_change_uuid": last["step_audit_change_uuid"]}

    def page(cursor: dict[str, object]) -> Generator[Row]:
        return stream(conn, schema, "list_step_audit_changes", **filters, **cursor)

    return _joined(page, behind, limit)


def _joined(
    page: Callable[[dict[str, object]], Generator[Row]],
    behind: Callable[[Row], dict[str, object]],
    limit: int | None,
) -> Generator[Row]:
    cursor: dict[str, object] = {}
    for asked in _pages(limit):
        last, count = None, 0
        with closing(page(cursor | {"p_limit": asked})) as rows:
            for row in rows:
                last, count = row, count + 1
                yield row
        if last is None or count < asked:
            return
        cursor = behind(last)


def _pages(limit: int | None) -> Iterator[int]:
    """How many rows to ask for, page by page: more and more, and of a limit what is left."""
    for size in chain(_PAGES, repeat(_PAGES[-1])):
        if limit is None:
            yield size
        elif limit > 0:
            yield min(size, limit)
            limit -= size
        else:
            return
