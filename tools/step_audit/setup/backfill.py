"""The online backfill, batch by batch, each committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

import psycopg

from step_audit.database import Connection, call, transaction

DEFAULT_BATCH_SIZE = 5000

_RETRY_PAUSE = 0.1


def run_backfill(
    conn: Connection, schema: str, batch_size: int = DEFAULT_BATCH_SIZE, pause: float = 0
) -> Iterator[int]:
    """Audit what the trigger has not; yields the rows written so far after each batch.

    Args:
        conn: in autocommit, so that each batch is a transaction of its own.
        schema: where step-audit is installed.
        batch_size: transitions to look at per batch, of whatever state.
        pause: seconds to wait between batches.
    """
    last: UUID | None = None
    written = 0
    while True:
        try:
            with transaction(conn):
                (batch,) = call(
                    conn,
                    schema,
                    "backfill_step_result_audit_batch",
                    p_after=last,
                    p_batch_size=batch_size,
                )
        except psycopg.errors.LockNotAvailable as error:
            # Ctrl-C came in the same moment, and psycopg waited for the statement's end.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            # A task or step is locked; the batch gave way before a deadlock.
            time.sleep(_RETRY_PAUSE)
            continue
        written += batch["written"]
        yield written
        last = batch["last_transition_uuid"]
        if last is None:
            return
        time.sleep(pause)
